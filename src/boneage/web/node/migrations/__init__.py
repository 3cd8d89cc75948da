"""Migrations of the node."""

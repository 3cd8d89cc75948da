"""Accounts of the mode ``clinic``: users, roles, sessions, passwords and the audit log."""

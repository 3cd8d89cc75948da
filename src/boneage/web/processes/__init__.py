"""Processes of the service: the server, its workers, and what starts, watches and stops them."""

"""The printable report, and files to download."""

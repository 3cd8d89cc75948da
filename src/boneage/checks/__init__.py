"""Checks of a radiograph and of its estimate, which raise warnings."""

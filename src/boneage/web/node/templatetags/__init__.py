"""Template tags of the node."""

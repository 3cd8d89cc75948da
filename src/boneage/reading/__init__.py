"""Reading: from a file to grey levels and to the facts that its header states."""

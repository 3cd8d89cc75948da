"""The open atlas: mean hands of each sex and age."""

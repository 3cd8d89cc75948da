"""``python -m boneage``: the command line."""

from boneage.cli import main

main()

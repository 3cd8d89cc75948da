"""Bone age from a radiograph of the hand."""

"""Location of the hand on a radiograph: mask, key points and registration.

The package needs only NumPy and OpenCV. Networks are passed in as callables.
"""

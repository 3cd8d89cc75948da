"""Finding the hand on a radiograph: mask, key points, and from them its place in the registered frame. Numpy and OpenCV
only; the networks come in as callables.
"""

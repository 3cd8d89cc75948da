"""Finding the hand on a film: mask, key points, and from them its place in the registered frame. Numpy and OpenCV only;
the nets come in as callables.
"""

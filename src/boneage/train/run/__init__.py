"""One training run: its recipe, its task, the loop, and the predictions of the finished network."""

"""Training data: decoded radiographs, hands, annotations, drawn negatives, and views by epoch."""

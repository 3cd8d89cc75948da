"""How well estimates agree with labels: figures, tables, plots and mean maps. Reads results, never a model."""

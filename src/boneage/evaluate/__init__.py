"""Agreement of estimates with labels: figures, tables, plots and mean maps from predictions, without a model."""

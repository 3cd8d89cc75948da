"""Training, and all that needs torch: recipes to runs, runs to bundles."""

"""From finished runs to a model bundle: plan, build, export, release, and fine-tuning."""

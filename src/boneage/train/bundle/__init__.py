"""Model bundles: plan, build, export, release and fine-tuning."""

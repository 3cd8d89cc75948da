"""Model bundles: the manifest, the networks that it names, calibration, and the estimate from their outputs."""

"""DICOM objects: bounds on what they may claim, facts, geometry, look-up tables and pixels."""

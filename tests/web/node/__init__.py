"""Tests of the durable side of the DICOM node."""

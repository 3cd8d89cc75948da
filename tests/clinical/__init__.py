"""Tests of the clinical reading."""

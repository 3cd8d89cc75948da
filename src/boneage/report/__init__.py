"""Outputs of an assessment for people and programs: text, JSON, CSV, pictures and a page."""

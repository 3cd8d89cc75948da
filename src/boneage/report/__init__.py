"""What people and programs get of an assessment: text, JSON, CSV, pictures and a page."""

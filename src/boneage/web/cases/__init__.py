"""Cases and assessments: submission, decisions, the worklist, exports and retention."""

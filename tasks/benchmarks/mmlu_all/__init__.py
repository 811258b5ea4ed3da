"""MMLU as one task: all 57 subjects, so that a report has one row for it."""

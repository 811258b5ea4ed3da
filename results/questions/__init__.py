"""The questions that reviewers ask of a steering method, answered from what was measured.

Each module answers one: a sentence with numbers and intervals, then tables and figures as data.
`steereval.results.report` draws them.
"""

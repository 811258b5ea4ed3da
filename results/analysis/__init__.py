"""From item rows to scores, comparisons, families of tests and verdicts."""

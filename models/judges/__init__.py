"""Models that judge texts: from pairs (context, text) to numbers, in batches. They know no task."""

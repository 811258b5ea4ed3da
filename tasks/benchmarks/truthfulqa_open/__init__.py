"""TruthfulQA as open questions: what is written is for judges to score."""

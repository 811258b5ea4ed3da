"""The embedded everyday questions in CommonsenseQA's form."""

"""The bundled everyday questions in CommonsenseQA's form."""

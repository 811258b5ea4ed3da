"""The bundled questions of school science in ARC's form."""

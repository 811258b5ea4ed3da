"""The embedded questions of school science in ARC's form."""

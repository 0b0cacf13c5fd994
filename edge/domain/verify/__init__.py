"""Verdicts on images: bytes and values in, a verdict out. Nothing here fetches, logs or reads a clock."""

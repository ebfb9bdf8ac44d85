"""Predictions of rows as a file: what `predict` is made of."""

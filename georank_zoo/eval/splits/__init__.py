"""Splits of a labeled store, and the overlap of its places with those of training."""

"""Splits of a labeled store, and what lies near what."""

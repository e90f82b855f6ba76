"""Metrics, with bootstrap intervals and paired differences."""

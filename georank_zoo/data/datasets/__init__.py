"""Data sets: one file of facts each."""

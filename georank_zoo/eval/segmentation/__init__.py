"""Protocols for stores of masks: a class for each pixel."""

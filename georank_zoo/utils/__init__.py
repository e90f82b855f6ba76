"""Helpers that know neither Sentinel-2 nor learning."""

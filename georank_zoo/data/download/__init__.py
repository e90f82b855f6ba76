"""Downloading data sets: pinned, resumable, checked."""

"""Embeddings of stores and scenes, in memory or as files."""

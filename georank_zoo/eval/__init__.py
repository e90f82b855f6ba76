"""Evaluation protocols, tasks and results."""

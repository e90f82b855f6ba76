"""Results: tables of scores, predictions, comparisons."""

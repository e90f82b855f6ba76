"""Results: the table, the predictions beside it, comparisons."""

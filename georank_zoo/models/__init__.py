"""Models: loading, checking and exporting."""

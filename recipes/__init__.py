"""The recipes that the project ships."""

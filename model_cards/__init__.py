"""The model cards: template, what is said of methods, and the rendered cards."""

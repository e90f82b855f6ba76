"""A generated world, for the demo and for tests."""

"""The synthetic world of the demo and the tests."""

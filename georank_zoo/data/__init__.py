"""Patch stores: preparing, reading and describing them."""

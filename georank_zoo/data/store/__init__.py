"""The patch store: written once, then read by memory map."""

"""The patch store: written once, read by memory map."""

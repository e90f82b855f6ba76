"""What source files say, checked."""

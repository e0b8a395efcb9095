"""Map against truth."""

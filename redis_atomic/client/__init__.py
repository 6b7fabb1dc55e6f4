"""How a call reaches Redis."""

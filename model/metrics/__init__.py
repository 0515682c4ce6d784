"""How good edits are, as numbers."""

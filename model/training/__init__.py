"""Teaching a base model to use its memory (paper section 4.1, supplement E)."""

"""The memory part of the method: tokenisers, positions, merging, attention (torch), and retrieval (numpy)."""

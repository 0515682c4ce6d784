"""The base models that are given a memory, and the descriptor model."""

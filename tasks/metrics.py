"""Placeholder until the metrics are merged."""


def count_segment(seconds: float, wait: float | None) -> None:
    """A segment was edited."""


def count_death() -> None:
    """An Editor died."""

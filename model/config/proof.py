"""What the claim is measured on."""

from pathlib import Path

from pydantic import Field

from model.config.base import Config


class ProofConfig(Config):
    """The measurement of the claim (`benchmarks/consistency.py`): which held-out videos, under which methods."""

    weights: tuple[str, ...] = Field(default=("demo",), min_length=1)
    """Models, such as one by training seed; what they make of one video is drawn together in an interval."""
    videos: int = Field(default=60, ge=1)
    """Held-out videos that are edited."""
    segments: int = Field(default=20, ge=10)
    """Segments of a video."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of the first video; the others follow."""
    methods: tuple[str, ...] = (
        "ind", "fifo", "memory", "memory_merging", "discard", "recency", "random", "cached", "shuffled"
    )  # fmt: skip
    """How memories are chosen: the memory, its ablations and the baselines."""
    size: int = Field(default=64, ge=32)
    """Rows and columns of a picture."""
    least_gap: int = Field(default=12, ge=1)
    """Segments in which the subject is away, at least, beside those that it, or the camera, takes to go and come."""
    looks: int = Field(default=12, ge=0)
    """Videos of real footage that get an open look."""
    workers: int = Field(default=2, ge=1)
    """Judges at work at once, one core each."""
    records: Path
    """A file that every judged video is added to, and by which an interrupted run goes on."""

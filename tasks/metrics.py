"""What operators watch of a run, for Prometheus: counted in the driver, served by the agent of Ray's node.

Every driver's numbers come with its own `WorkerId`, and go with it: sum over them, and take counters as increases
(`sum(increase(...))`). Prometheus sees each name with `ray_` before it. The agent collects every ten seconds, so the
last seconds of a run may be missing; what was done stands in the ledger. Where Ray is not started nothing is counted.

Ray hands on a histogram's buckets and makes its sum up from their middles: sums of seconds are counted apart. A gauge
that is not set again for twenty seconds is forgotten, so none outlives its run.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util.metrics import Counter, Gauge, Histogram

SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]
WAITS = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]

KINDS: Mapping[str, tuple[type[Any], str, dict[str, Any]]] = {
    "memory_v2v_segments_edited_total": (Counter, "Segments edited.", {}),
    "memory_v2v_segments_reused_total": (Counter, "Segments found committed, and not edited again.", {}),
    "memory_v2v_segments_quarantined_total": (Counter, "Segments given up after too many failures or deaths.", {}),
    "memory_v2v_editor_deaths_total": (Counter, "Editors that died, or were killed because they hung.", {}),
    "memory_v2v_editor_busy_seconds_total": (Counter, "Seconds in which Editors edited.", {}),
    "memory_v2v_editor_waiting_seconds_total": (Counter, "Seconds in which Editors waited between segments.", {}),
    "memory_v2v_segment_seconds": (Histogram, "Seconds of an Editor to a segment.", {"boundaries": SECONDS}),
    "memory_v2v_editor_wait_seconds": (
        Histogram,
        "Seconds between two segments in which an Editor had nothing to do.",
        {"boundaries": WAITS},
    ),
    "memory_v2v_commit_seconds": (Histogram, "Seconds to store an edited segment.", {"boundaries": WAITS}),
    "memory_v2v_videos": (Gauge, "Videos of a catalog by state.", {"tag_keys": ("state",)}),
}
"""Every metric by name, with what it counts."""

RECORD: Mapping[type[Any], Callable[..., None]] = {
    Counter: Counter.inc,
    Gauge: Gauge.set,
    Histogram: Histogram.observe,
}

_made: dict[str, Any] = {}


def count_segment(seconds: float, wait: float | None = None) -> None:
    """A segment took an Editor `seconds`, after it had waited for it `wait` seconds; None is the first of a turn."""
    _record("memory_v2v_segments_edited_total", 1)
    _record("memory_v2v_segment_seconds", seconds)
    _record("memory_v2v_editor_busy_seconds_total", seconds)
    if wait is not None:
        _record("memory_v2v_editor_waiting_seconds_total", wait)
        _record("memory_v2v_editor_wait_seconds", wait)


def count_reused(segments: int) -> None:
    """So many segments of a turn were found committed."""
    _record("memory_v2v_segments_reused_total", segments)


def count_quarantined() -> None:
    """A segment was given up, and its video goes on without it."""
    _record("memory_v2v_segments_quarantined_total", 1)


def count_death() -> None:
    """An Editor died, or was killed because it hung."""
    _record("memory_v2v_editor_deaths_total", 1)


def count_commit(seconds: float) -> None:
    """A segment's file, latents, row and ledger row took `seconds` to store."""
    _record("memory_v2v_commit_seconds", seconds)


def show_videos(counts: Mapping[str, int]) -> None:
    """How many videos of the catalog are in each state, empty ones with 0; to be said again every few seconds."""
    for state, count in counts.items():
        _record("memory_v2v_videos", count, {"state": state})


def _record(name: str, value: float, tags: dict[str, str] | None = None) -> None:
    if not ray.is_initialized() or (value <= 0 and KINDS[name][0] is Counter):
        return
    if name not in _made:
        kind, description, options = KINDS[name]
        _made[name] = kind(name, description=description, **options)
    RECORD[type(_made[name])](_made[name], value, tags)

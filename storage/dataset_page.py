"""The page of an extended dataset: how many samples, how long, how far they drifted, what was left out and why.

One HTML file without scripts; it works from disk. A contact sheet shows samples drawn at random, from the previews in
the rows. Whatever a user wrote is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage.datasets.extended import KINDS
from storage.durable import write_whole
from storage.page import render

SHOWN, SHOWN_FAILURES = 24, 200
BINS = np.linspace(0, 1.25, 26)


@dataclass(frozen=True)
class DatasetPage:
    """What the page is told: `rows` are those of the dataset, without latents."""

    title: str
    rows: pa.Table
    rejected: Mapping[str, int]
    failed: Sequence[Mapping[str, str]]
    settings: Mapping[str, Any]


def write_dataset_page(path: Path, page: DatasetPage) -> Path:
    """Write the page; it appears whole or not at all."""
    rows = page.rows.to_pylist()
    text = render(
        "dataset",
        page=page,
        figures=_figures(page.rows),
        drift={kind: _histogram(_drift(rows, kind)) for kind in KINDS},
        lengths=_counts(page.rows["frames"].to_pylist()),
        shown=[_shown(rows[place]) for place in _drawn(len(rows))],
        failures=page.failed[:SHOWN_FAILURES],
        bound=float(1 / BINS[-1]),
    )
    return write_whole(path, text)


def _figures(rows: pa.Table) -> dict[str, str]:
    splits = _counts(rows["split"].to_pylist())
    windows = [window for row in rows["windows"].to_pylist() for window in row]
    redrawn = sum(window["draws"] > 1 for window in windows)
    return {
        "samples": f"{len(rows):,}",
        "for training": f"{splits.get('training', 0):,}",
        "for validation": f"{splits.get('validation', 0):,}",
        "source videos": f"{len(set(rows['group'].to_pylist())):,}",
        "frames": f"{sum(rows['frames'].to_pylist()):,}",
        "windows drawn again": f"{redrawn:,} of {len(windows):,}",
    }


def _counts(values: Sequence[Any]) -> dict[Any, int]:
    return {value: values.count(value) for value in sorted(set(values))}


def _drift(rows: Sequence[Mapping[str, Any]], kind: str) -> list[float]:
    """Of every window that is part of a sample."""
    return [window[kind] for row in rows for window in row["windows"] if window["kept"] and window[kind] is not None]


def _histogram(values: Sequence[float]) -> list[float]:
    """Height of each bar, in parts of the highest; what lies beyond the last bin is in it."""
    counts, _ = np.histogram(np.minimum(values, BINS[-1] - 1e-6), BINS)
    return (counts / max(1, counts.max())).tolist()


def _drawn(count: int) -> list[int]:
    """The same samples whenever the page is written."""
    return sorted(np.random.default_rng(0).permutation(count)[:SHOWN].tolist())


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: row[name] for name in ("id", "instruction", "preview")}
    return {**kept, "frames": f"{row['frames']} frames"}

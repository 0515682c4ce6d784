"""What work took on this machine, run by run: plans are made from it.

One JSON line a run: of catalogs by what decides how long a segment takes (the machine, the model, where it runs, and
the window), of extended training data by a name for all that decides how long a pair takes. Runs may end at once: a
line is added, none is changed. Lines that cannot be read are passed over: a plan is an estimate, not a record.
"""

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

FILE, PAIRS_FILE = "calibration.jsonl", "extension_rates.jsonl"
KEPT = 20  # runs, of which the latest are looked at


@dataclass(frozen=True)
class Setting:
    """What decides how long a segment takes."""

    machine: str
    model: str
    device: str
    window: str
    steps: int
    speed: str


@dataclass(frozen=True)
class Rates:
    """What one run measured.

    `segment_seconds` is an Editor's time for a segment, `wait_seconds` its wait before the next, both means;
    `start_seconds` lie before the first segment and `end_seconds` behind the last. Bytes are a segment's share of the
    memory, and of the results; `cut_factor` is how many segments there were, for each there would be without cuts.
    """

    segments: int
    segment_seconds: float
    wait_seconds: float
    start_seconds: float
    end_seconds: float
    memory_bytes: float
    output_bytes: float
    cut_factor: float


@dataclass(frozen=True)
class PairRates:
    """What one run measured of a pair: a worker's seconds for it, and the bytes of its sample; both means."""

    seconds: float
    bytes: float


@dataclass(frozen=True)
class _Run:
    """A line of `FILE`."""

    setting: Setting
    rates: Rates


@dataclass(frozen=True)
class _PairsRun:
    """A line of `PAIRS_FILE`."""

    kind: str
    rates: PairRates


Run = TypeVar("Run", _Run, _PairsRun)


def this_machine() -> str:
    """A name for the machine, as far as speed goes."""
    return f"{platform.node()}/{platform.machine()}"


def record_rates(folder: Path, setting: Setting, rates: Rates) -> None:
    """Add a run of a catalog to those in a folder."""
    _add(folder / FILE, _Run(setting, rates))


def read_rates(folder: Path, setting: Setting) -> Rates | None:
    """The means of the latest runs in this setting, by their segments; None if there were none."""
    found = [run.rates for run in _runs(folder / FILE, _Run) if run.setting == setting][-KEPT:]
    if not found:
        return None
    total = sum(rates.segments for rates in found)
    means = {
        name: sum(getattr(rates, name) * rates.segments for rates in found) / total
        for name in Rates.__dataclass_fields__
        if name != "segments"
    }
    return Rates(segments=total, **means)


def record_pair_rates(folder: Path, kind: str, rates: PairRates) -> None:
    """Add a run that extended training data; `kind` names runs that take as long as one another, pair by pair."""
    _add(folder / PAIRS_FILE, _PairsRun(kind, rates))


def read_pair_rates(folder: Path, kind: str) -> PairRates | None:
    """Of the last run of this kind; None if there was none."""
    found = [run.rates for run in _runs(folder / PAIRS_FILE, _PairsRun) if run.kind == kind]
    return found[-1] if found else None


def _add(path: Path, run: _Run | _PairsRun) -> None:
    """In one write; behind a line that was cut off it begins a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
        begins = file.read(1) in (b"\n", b"")
        file.write((b"" if begins else b"\n") + json.dumps(asdict(run)).encode() + b"\n")


def _runs(path: Path, kind: type[Run]) -> list[Run]:
    lines = path.read_text().splitlines() if path.is_file() else []
    known, found = TypeAdapter(kind), []
    for line in lines:
        with suppress(ValidationError):
            found.append(known.validate_json(line))
    return found

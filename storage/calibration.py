"""What work took on this machine, run by run: plans are made from it.

One JSON line a run in the user's data folder, by what decides how long a segment takes: the machine, the model, where
it runs, and the window. Lines that cannot be read are passed over: a plan is an estimate, not a record.
"""

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

FILE = "calibration.jsonl"
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


def this_machine() -> str:
    """A name for the machine, as far as speed goes."""
    return f"{platform.node()}/{platform.machine()}"


def record_rates(folder: Path, setting: Setting, rates: Rates) -> None:
    """Add a run."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a") as file:
        file.write(json.dumps({"setting": asdict(setting), "rates": asdict(rates)}) + "\n")


def read_rates(folder: Path, setting: Setting) -> Rates | None:
    """The means of the latest runs in this setting, by their segments; None if there were none."""
    path = folder / FILE
    lines = path.read_text().splitlines() if path.is_file() else []
    runs = [run for line in lines if (run := _parse(line)) is not None]
    found = [rates for known, rates in runs if known == setting][-KEPT:]
    if not found:
        return None
    total = sum(rates.segments for rates in found)
    means = {
        name: sum(getattr(rates, name) * rates.segments for rates in found) / total
        for name in Rates.__dataclass_fields__
        if name != "segments"
    }
    return Rates(segments=total, **means)


def _parse(line: str) -> tuple[Setting, Rates] | None:
    try:
        found = json.loads(line)
        return TypeAdapter(Setting).validate_python(found["setting"]), TypeAdapter(Rates).validate_python(
            found["rates"]
        )
    except (ValueError, ValidationError, KeyError, TypeError):
        return None

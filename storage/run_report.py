"""What a catalog's run was asked for and what it did, kept as JSON beside the states of its videos."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model.config import CatalogRequest
from model.errors import RequestError
from storage.durable import write_whole
from storage.video_states import VideoState

FOLDER = "runs"
REQUEST = "request.json"  # the last one
SHARD = re.compile(r"-(\d+)-of-(\d+)$")  # at the end of a run's id


@dataclass(frozen=True)
class RunRecord:
    """Figures of one run, which may have been of one shard, or of some videos.

    Times are in seconds, waits in milliseconds, an Editor's between two segments. `planned_seconds` is what the plan
    had said of `seconds`; None where it had only guessed. `flagged` are segments that a person should look at.
    """

    id: str
    started: str
    seconds: float
    planned_seconds: float | None
    videos: Mapping[str, int]
    segments: Mapping[str, int]
    editor_utilisation: float | None
    overhead_p50_ms: float | None
    overhead_p95_ms: float | None
    flagged: int = 0

    @property
    def shard(self) -> str | None:
        """The part of the catalog that the run took, such as `1/2`; None is all of it."""
        found = SHARD.search(self.id)
        return f"{found[1]}/{found[2]}" if found else None

    @property
    def plan_error(self) -> float | None:
        """How far the plan was off, in parts of what it took."""
        return None if self.planned_seconds is None else self.planned_seconds / self.seconds - 1


def keep_request(folder: Path, request: CatalogRequest) -> Path:
    """Keep in a catalog's folder what was asked for, so that lost videos can be run again."""
    return write_whole(folder / REQUEST, request.model_dump_json())


def read_request(folder: Path) -> CatalogRequest:
    """The last request of a catalog.

    Raises:
        RequestError: it is damaged, or of another version.
    """
    path = folder / REQUEST
    try:
        return CatalogRequest.model_validate_json(path.read_text())
    except (ValueError, OSError):  # a validation error is a value error
        raise RequestError(
            f"{path}: is no request of this version; give 'memory-v2v catalog run MANIFEST' once more"
        ) from None


def write_run(folder: Path, record: RunRecord) -> Path:
    """Keep a run in a catalog's folder."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    return write_whole(folder / FOLDER / f"{record.id}.json", json.dumps(asdict(record)))


def read_runs(folder: Path) -> list[RunRecord]:
    """All runs, the latest last."""
    return [RunRecord(**json.loads(path.read_text())) for path in sorted((folder / FOLDER).glob("*.json"))]


def summarise(states: Sequence[VideoState]) -> tuple[dict[str, int], dict[str, int]]:
    """Videos by state, and segments by what became of them."""
    counts = Counter(state.state for state in states)
    videos = {name: counts[name] for name in ("done", "partial", "failed", "skipped")}
    segments = {name: sum(getattr(state, name) for state in states) for name in ("edited", "reused", "quarantined")}
    return videos, segments

"""The page of a catalog: `index.html` in the folder of its results, one row a video, with links to their review pages.

What wants a person comes first. The page shows states as they are told; it opens from disk, and its pictures are files
beside the review pages, which a browser loads when their rows come into sight.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePath

from model.metrics.drift import EDIT_BOUND
from storage.finished import find_result
from storage.page import write_page
from storage.review import POSTER
from storage.run_report import RunRecord
from storage.scores import count_flagged
from storage.store import review_folder, review_path
from storage.video_states import ORDER, VideoState

PAGE = "index.html"
MOST_LINKS = 9  # review pages of one video, the latest
VERSION = re.compile(r"(.*_v)(\d{3,9})")  # of a result's name (`storage/store.py`)


@dataclass(frozen=True)
class CatalogRow:
    """One video as it is shown. `pages` are its review pages, the last one that of its state; `flagged` counts segments
    that a person should look at, None where nobody judged them. Paths are relative to the page.
    """

    state: VideoState
    pages: tuple[PurePath, ...] = ()
    poster: PurePath | None = None
    flagged: int | None = None

    @property
    def drifts(self) -> bool:
        return self.state.drift > EDIT_BOUND

    @property
    def precedence(self) -> tuple[int, int, bool, str]:
        """By what wants a person most."""
        return ORDER.index(self.state.state), -(self.flagged or 0), not self.drifts, self.state.id


@dataclass(frozen=True)
class CatalogSheet:
    """Everything the page shows: the videos, and the last run that came to its end."""

    title: str
    rows: tuple[CatalogRow, ...]
    run: RunRecord | None
    written: datetime

    @cached_property
    def counts(self) -> dict[str, int]:
        """Videos by state, of the states that there are."""
        counted = Counter(row.state.state for row in self.rows)
        return {name: counted[name] for name in ORDER if counted[name]}

    @property
    def flagged(self) -> int | None:
        """Flagged segments of all videos; None where nobody judged any."""
        judged = [row.flagged for row in self.rows if row.flagged is not None]
        return sum(judged) if judged else None

    def total(self, name: str) -> int | float:
        """The sum of one figure of the states."""
        return sum(getattr(row.state, name) for row in self.rows)


def write_catalog_page(out: Path, states: Sequence[VideoState], run: RunRecord | None) -> Path:
    """Write the page of the catalog whose results are in `out`, whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    out = out.absolute()
    rows = sorted((_row(out, state) for state in states), key=lambda row: row.precedence)
    sheet = CatalogSheet(out.name, tuple(rows), run, datetime.now(UTC))
    return write_page("catalog", out / PAGE, sheet=sheet)


def _row(out: Path, state: VideoState) -> CatalogRow:
    if not state.output:
        return CatalogRow(state)
    video = find_result(out, state) or out / state.id / Path(state.output).name
    pages = tuple(page.relative_to(out) for page in _pages(video) if page.is_relative_to(out))
    poster = review_folder(video) / POSTER
    shown = poster.relative_to(out) if poster.is_relative_to(out) and poster.is_file() else None
    return CatalogRow(state, pages, shown, count_flagged(video))


def _pages(video: Path) -> list[Path]:
    """The review pages of a video's versions up to this one."""
    found = VERSION.fullmatch(video.stem)
    if found is None:
        names = [video.stem]
    else:
        last = int(found[2])
        names = [f"{found[1]}{version:03d}" for version in range(max(1, last - MOST_LINKS + 1), last + 1)]
    return [page for name in names if (page := review_path(video.with_name(f"{name}.mp4"))).is_file()]

"""Pairs in a plain folder, or listed in a file of JSON lines.

A list has one pair a line, with paths relative to it:

    {"source": "a.mp4", "target": "b.mp4", "instruction": "make it night", "id": "a", "group": "film", "end": "a.png"}

`id`, `group` and `end` may be left out. A folder without a `pairs.jsonl` has `source/NAME.mp4`, `target/NAME.mp4` (any
suffix) and `instruction/NAME.txt`.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError

from model.config import Config
from model.config.base import first_mistake
from model.errors import RequestError
from storage.datasets.pairs import Broken, Entry, Pair
from storage.foreign_text import TextError, parse_json, read_text

LIST = "pairs.jsonl"


class PairLine(Config):
    """One line of a list of pairs."""

    source: Path
    target: Path
    instruction: str = Field(min_length=1)
    id: str | None = None
    group: str | None = None
    end: Path | None = None


@dataclass(frozen=True)
class PairFolder:
    """Pairs that lie about as files. `place` is a folder, or a list."""

    place: Path

    def entries(self) -> Sequence[Entry]:
        return [entry for entry, _ in self._pairs]

    def read(self, wanted: Collection[str]) -> Iterator[Pair | Broken]:
        base = self.place if self.place.is_dir() else self.place.parent
        for entry, line in self._pairs:
            if entry.id not in wanted:
                continue
            named = [path for path in (line.source, line.target, line.end) if path is not None]
            paths = [base / path for path in named]
            missing = [
                str(path) for path, given in zip(paths, named, strict=True) if not path.is_file() or _leads_out(given)
            ]
            if missing:
                yield Broken(entry, f"{missing[0]}: no such file in the dataset")
            else:
                yield Pair(entry, paths[0], paths[1], end=paths[2] if line.end else None)

    @cached_property
    def _pairs(self) -> list[tuple[Entry, PairLine]]:
        listed = self.place / LIST if self.place.is_dir() else self.place
        lines = _read_list(listed) if listed.is_file() else _find(self.place)
        pairs = [(_entry(line), line) for line in lines]
        counts = Counter(entry.id for entry, _ in pairs)
        if twice := next((name for name, count in counts.items() if count > 1), None):
            raise RequestError(f"{listed}: two pairs are called {twice!r}; give each its own id")
        return pairs


def _entry(line: PairLine) -> Entry:
    source, target, *end = (path.as_posix() for path in (line.source, line.target, line.end) if path is not None)
    return Entry(line.id or line.target.stem, line.group or source, line.instruction, (source, target, *end))


def _leads_out(path: Path) -> bool:
    return path.is_absolute() or ".." in path.parts


def _read_list(path: Path) -> list[PairLine]:
    lines = []
    for number, text in enumerate(read_text(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            lines.append(PairLine.model_validate(parse_json(text)))
        except TextError as fault:
            raise RequestError(f"{path}: line {number}: {fault}") from None
        except ValidationError as fault:
            raise RequestError(f"{path}: line {number}: {': '.join(first_mistake(fault))}") from None
    return lines


def _find(folder: Path) -> list[PairLine]:
    """Pairs of a folder without a list, by name."""
    kinds = {
        kind: {path.stem: path for path in sorted((folder / kind).glob("[!.]*"))}
        for kind in ("source", "target", "instruction")
    }
    if not kinds["target"]:
        raise RequestError(
            f"{folder}: no pairs; expected {LIST}, or source/NAME.mp4, target/NAME.mp4 and instruction/NAME.txt"
        )
    lines = []
    for name, target in kinds["target"].items():
        if name not in kinds["source"] or name not in kinds["instruction"]:
            raise RequestError(f"{target}: has no source/{name} or no instruction/{name}.txt beside it")
        said = kinds["instruction"][name]
        source, target = (kinds[kind][name].relative_to(folder) for kind in ("source", "target"))
        try:
            lines.append(PairLine(source=source, target=target, instruction=read_text(said).strip(), id=name))
        except ValidationError as fault:
            raise RequestError(f"{said}: {': '.join(first_mistake(fault))}") from None
    return lines

"""Read a catalog's manifest, or tell everything that is wrong with it: one pass, one line in memory at a time.

A manifest is other people's text. Nothing in it opens, asks or writes anything but this: local files that it names are
looked at, and read whole where their sums are to be checked.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.config import CatalogVideo
from model.errors import RequestError
from storage.address import ObjectAddress
from storage.catalog.claims import Claims
from storage.catalog.defaults import merge, read_defaults
from storage.catalog.faults import Fault, Place, explain_all, name_place, too_many
from storage.catalog.json_line import JsonLineError, parse_object
from storage.catalog.places import find_source, read_output, source_fault, way_fault
from storage.catalog.table import Row, read_rows
from storage.catalog.text_file import Line, read_lines
from storage.foreign_text import open_text
from storage.rectangle import mask_file

MAX_VIDEOS, MAX_FAULTS, FAULTS_OF_A_LINE = 250_000, 100_000, 50
SUFFIXES = (".jsonl", ".ndjson", ".csv")


@dataclass(frozen=True)
class Catalog:
    """A catalog's videos in the order of the manifest; relative addresses are relative to `folder`."""

    videos: tuple[CatalogVideo, ...]
    folder: Path

    def source_of(self, video: CatalogVideo) -> Path | ObjectAddress:
        """Where a video lies: an absolute path, or an object in a bucket."""
        return find_source(self.folder, video.uri)


def read_catalog(manifest: Path, defaults: Path | None = None, out: Path | None = None) -> Catalog:
    """The videos of a manifest (JSON lines, or CSV), each with what the YAML file of defaults adds.

    The files that it names are not looked at: one that is missing is the affair of that video alone.

    Raises:
        RequestError: a file cannot be read, or anything in them is wrong: the first fault, and how many there are.
    """
    videos: list[CatalogVideo] = []
    first, count = None, 0
    for found in _examine(manifest, defaults, _Looking(out, files=False)):
        if isinstance(found, Fault):
            first, count = first or found, count + 1
            videos.clear()
        elif first is None:
            videos.append(found)
    if first is not None:
        raise too_many(count, first)
    return Catalog(tuple(videos), manifest.absolute().parent)


def find_faults(
    manifest: Path, defaults: Path | None = None, out: Path | None = None, check_sha: bool = False
) -> list[Fault]:
    """Everything that is wrong with a manifest and its defaults, in the order of their lines.

    Local files that it names are looked at, and read whole against their `sha256` with `check_sha`; with `out`, the
    folder for the results, so are the ways to the folders of each video. Nothing is asked of other machines.

    Raises:
        RequestError: one of the files cannot be read at all.
    """
    return [found for found in _examine(manifest, defaults, _Looking(out, True, check_sha)) if isinstance(found, Fault)]


@dataclass(frozen=True)
class _Looking:
    """How closely a manifest is looked at."""

    out: Path | None
    files: bool = True
    check_sha: bool = False


def _examine(manifest: Path, defaults: Path | None, looking: _Looking) -> Iterator[Fault | CatalogVideo]:
    if manifest.suffix.lower() not in SUFFIXES:
        raise RequestError(f"{manifest}: expected a manifest named *.jsonl, *.ndjson or *.csv")
    common, wrong = read_defaults(defaults)
    yield from wrong
    examiner = _Examiner(manifest, common, looking, Claims())
    videos = faults = 0
    with open_text(manifest) as file:
        lines = read_lines(file)
        for row in read_rows(lines) if manifest.suffix.lower() == ".csv" else _objects(lines):
            videos += 1
            if videos > MAX_VIDEOS or faults > MAX_FAULTS:
                said = f"{MAX_VIDEOS:,} videos; make it several catalogs"
                said = said if videos > MAX_VIDEOS else f"{MAX_FAULTS:,} faults; the rest was not looked at"
                yield Fault(row.number, "", f"more than {said}", manifest)
                return
            for found in examiner.examine(row):
                faults += isinstance(found, Fault)
                yield found
    if videos == 0:
        yield Fault(1, "", "names no video", manifest)


def _objects(lines: Iterator[Line]) -> Iterator[Row]:
    for line in lines:
        if line.fault is not None:
            yield Row(line.number, {}, {}, [((), line.fault)])
        elif line.text.strip():
            try:
                fields, wrong = parse_object(line.text)
                yield Row(line.number, fields, {}, wrong)
            except JsonLineError as fault:
                yield Row(line.number, {}, {}, [((), str(fault))])


@dataclass(frozen=True)
class _Examiner:
    """Looks at one line after the other, and knows those before."""

    manifest: Path
    common: dict[str, Any]
    looking: _Looking
    claims: Claims

    def examine(self, row: Row) -> Iterator[Fault | CatalogVideo]:
        """The video of a line, or its faults."""
        wrong = list(row.wrong)
        bad = {place[0] if place else "" for place, _ in wrong}
        video = None
        if "" not in bad and not row.header:
            sound = {name: value for name, value in row.fields.items() if name not in bad}
            merged = merge(self.common, sound)
            video, mistakes = _validate(merged, bad)
            wrong += mistakes
            bad |= {place[0] for place, _ in mistakes}
            wrong += self._look(row.number, {name: value for name, value in merged.items() if name not in bad})
        if video is not None and not wrong:
            yield video
        for place, said in wrong[:FAULTS_OF_A_LINE]:
            yield Fault(row.number, name_place(place, row.names), said, self.manifest)
        if len(wrong) > FAULTS_OF_A_LINE:
            yield Fault(row.number, "", f"has {len(wrong) - FAULTS_OF_A_LINE:,} more faults", self.manifest)

    def _look(self, line: int, sound: dict[str, Any]) -> list[tuple[Place, str]]:
        """Faults that settings alone do not show, of the fields that are valid."""
        wrong: list[tuple[Place, str]] = []
        video_id = sound.get("video_id")
        if video_id is not None:
            wrong += self.claims.claim_id(line, video_id)
            wrong += self.claims.claim_session(line, video_id, sound.get("memory_scope", "video"))
            scope, _, group = sound.get("memory_scope", "video").partition(":")
            if scope == "group":
                wrong += [] if wrong else self._look_at_group(line, group, sound.get("output"))
            elif not wrong or sound.get("output"):  # a second video of one id has the folder of the first, too
                wrong += self._look_at_output(line, video_id, sound.get("output"))
        if "uri" in sound and not sound.get("skip"):
            wrong += self._look_at_source(sound["uri"], sound.get("sha256"))
            wrong += self._look_at_mask(sound.get("deliver", {}).get("region", {}).get("mask"))
        return wrong

    def _look_at_mask(self, mask: str | None) -> list[tuple[Place, str]]:
        place = mask_file(mask, self.manifest.absolute().parent) if mask and self.looking.files else None
        fault = source_fault(place, None) if place else None
        return [] if fault is None else [(("deliver", "region", "mask"), f"{place}: {fault}")]

    def _look_at_group(self, line: int, group: str, given: str | None) -> list[tuple[Place, str]]:
        """Videos that share a memory share a folder, which is named after their group."""
        wrong = self.claims.claim_group(line, group)
        if given is None:
            return wrong
        try:
            output = read_output(given)
        except RequestError as fault:
            return [*wrong, (("output",), str(fault))]
        if isinstance(output, ObjectAddress):
            return wrong + self.claims.claim_prefix(line, output)
        said = f"{given!r}: the videos of a group have one folder, {group!r}; leave it out, or name a bucket"
        return [*wrong, (("output",), said)]

    def _look_at_output(self, line: int, video_id: str, given: str | None) -> list[tuple[Place, str]]:
        try:
            output = read_output(given or video_id)
        except RequestError as fault:
            return [(("output",), str(fault))]
        wrong = self.claims.claim_output(line, video_id, output)
        if self.looking.out is not None and not isinstance(output, ObjectAddress):
            fault = way_fault(self.looking.out, output)
            wrong += [] if fault is None else [(("output",), fault)]
        return wrong

    def _look_at_source(self, uri: str, sha256: str | None) -> list[tuple[Place, str]]:
        try:
            source = find_source(self.manifest.absolute().parent, uri)
        except RequestError as fault:
            return [(("uri",), str(fault))]
        if isinstance(source, ObjectAddress) or not self.looking.files:
            return []
        fault = source_fault(source, None)
        if fault is not None:
            return [(("uri",), f"{source}: {fault}")]
        fault = source_fault(source, sha256) if self.looking.check_sha else None
        return [] if fault is None else [(("sha256",), f"{source}: {fault}")]


def _validate(merged: dict[str, Any], bad: set[str | int]) -> tuple[CatalogVideo | None, list[tuple[Place, str]]]:
    """A video, or every mistake of its settings, without those of fields that are known to be bad.

    As JSON, strictly: "7" is no number, 1.0 no whole one, and nothing but true and false is either.
    """
    try:
        return CatalogVideo.model_validate_json(json.dumps(merged), strict=True), []
    except ValidationError as error:
        mistakes = explain_all(error)
    told = {place[0] if place else "turns" for place, _ in mistakes}
    if told and "turns" not in told | bad:  # how turns follow each other is looked at last, and was not yet
        alone = {"video_id": "v", "uri": "v", "turns": merged.get("turns", [])}
        mistakes += _validate(alone, bad)[1]
    return None, [(place or ("turns",), said) for place, said in mistakes if not place or place[0] not in bad]

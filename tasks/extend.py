"""Turn short edit pairs into long samples: plan, extend what is not there yet, pack, and say how it went.

A pair's sample has a name that covers all it depends on, so a killed run goes on where it was, and what an earlier run
made or rejected is found again. Nothing is packed before every pair was tried.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from model.config import ExtensionRequest
from model.errors import MemoryV2VError, RequestError
from storage.calibration import PairRates, read_pair_rates, record_pair_rates
from storage.content_id import hash_folder, identify
from storage.dataset_page import DatasetPage, write_dataset_page
from storage.datasets.extended import (
    ExtendedClips,
    Sample,
    find_rejections,
    find_samples,
    find_stale,
    pack,
    read_manifest,
    split_of,
    write_rejection,
    write_sample,
)
from storage.datasets.layouts import open_pairs
from storage.datasets.pairs import Broken, Entry, Pair, PairSource
from tasks.actors.extender import ExtendJob
from tasks.extending import Extended, extend_together
from tasks.progress import CountedProgress, show
from tasks.weights import codec_id, locate_framepack, locate_weights

PAGE = "dataset.html"
STRIP_QUALITY = 80
EDITION = 4  # of samples: counted up when the same pair gives another one, or one of another name


@dataclass(frozen=True)
class ExtendWork:
    """A dataset to be extended, named. `model` is the hash of FramePack, `codec` that of the codec of the latents."""

    request: ExtensionRequest
    source: PairSource
    entries: tuple[Entry, ...]
    framepack: Path
    weights: Path
    model: str
    codec: str
    cache: Path

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Of the samples, by pair, in the order of the dataset."""
        said = self.said
        return {entry.id: identify({**said, **asdict(entry)})[:32] for entry in self.entries}

    @property
    def said(self) -> dict[str, Any]:
        """What all samples of a dataset have in common."""
        return {"settings": self.settings, "model": self.model, "codec": self.codec, "edition": EDITION}

    @property
    def settings(self) -> dict[str, Any]:
        """What a sample depends on besides its pair and the models."""
        kept = {"height", "width", "clip_frames", "segment_frames", "extension", "validation_share", "seed"}
        return self.request.model_dump(mode="json", include=kept)


@dataclass(frozen=True)
class Found:
    """What earlier runs left: names of samples, and why others were rejected, by name."""

    samples: frozenset[str]
    rejected: Mapping[str, str]


@dataclass(frozen=True)
class ExtensionPlan:
    """What a run would do. Times are those of this machine's last run of the same kind, None where there was none."""

    pairs: int
    done: int
    left: int
    seconds_per_pair: float | None
    hours: float | None
    gigabytes: float | None

    def summary(self) -> str:
        """Some lines for a person."""
        if self.hours is None:
            cost = "time and disk are not known yet for this machine: run with --limit 1 first, which measures them"
        else:
            cost = f"{self.hours:g} hours on as many workers, {self.gigabytes:g} GB while packing"
        return f"{self.pairs} pairs, {self.done} done, {self.left} left\n{cost}"


@dataclass(frozen=True)
class Outcome:
    """What came of all pairs: samples by name in the order of the dataset, and what is not among them, and why.

    Of the samples `made` are of this run and `reused` of earlier ones; `tried` are the pairs that this run took.
    """

    names: tuple[str, ...]
    rejected: Mapping[str, str]
    failed: tuple[dict[str, str], ...]
    made: int
    reused: int
    tried: int


def describe_extension(request: ExtensionRequest, cache: Path) -> ExtendWork:
    """Open the dataset and name every sample.

    Raises:
        RequestError: the dataset is not there, or of no layout that is known; or `out` holds one of other settings.
        WeightsError: a model is not there.
    """
    source = open_pairs(request.dataset, request.layout, request.instruction_field)
    entries = tuple(source.entries())[: request.limit]
    framepack, weights = locate_framepack(request.framepack, cache), locate_weights(request.weights, cache)
    model, codec = hash_folder(framepack, cache), codec_id(weights / "vae")
    work = ExtendWork(request, source, entries, framepack, weights, model, codec, cache)
    if len(work.names) < len(entries):
        raise RequestError(f"{request.dataset}: two pairs have one id; give each its own")
    held = read_manifest(request.out)
    if held is not None and any(held.get(key) != value for key, value in work.said.items()):
        raise RequestError(
            f"{request.out}: holds a dataset of other settings or models, or of another version; choose another --out"
        )
    return work


def plan_extension(work: ExtendWork) -> ExtensionPlan:
    """What is there, what is left, and what it would take."""
    found = find_made(work)
    done = sum(_is_made(name, found) for name in work.names.values())
    left = len(work.entries) - done
    rates = read_pair_rates(work.cache, _kind(work))
    if rates is None:
        return ExtensionPlan(len(work.entries), done, left, None, None, None)
    hours = round(rates.seconds * left / work.request.workers / 3600, 3)
    gigabytes = round(2 * rates.bytes * len(work.entries) / 1e9, 3)
    return ExtensionPlan(len(work.entries), done, left, rates.seconds, hours, gigabytes)


def find_made(work: ExtendWork) -> Found:
    """Samples and rejections of earlier runs in this folder."""
    out = work.request.out
    packed = read_manifest(out) or {"names": [], "rejected": {}}
    return Found(frozenset([*find_samples(out), *packed["names"]]), packed["rejected"] | find_rejections(out))


def find_finished(work: ExtendWork) -> Outcome | None:
    """What came of all pairs, where an earlier run went to its end, its page and clearing up too; creates nothing."""
    found, out = find_made(work), work.request.out
    manifest = read_manifest(out)
    if manifest is None or find_stale(out, manifest) or not (out / PAGE).is_file():
        return None
    if not all(_is_made(name, found) for name in work.names.values()):
        return None
    outcome = _outcome(work, found, found, ())
    return outcome if set(outcome.names) <= set(manifest["names"]) else None


@task(task_run_name="extend {work.request.dataset.name}", cache_policy=NO_CACHE, persist_result=False)
def extend_pairs(work: ExtendWork, device: str) -> Outcome:
    """Extend every pair that is left, writing each sample as it comes. What is broken is named; the rest goes on."""
    found = find_made(work)
    left = {entry.id for entry in work.entries if not _is_made(work.names[entry.id], found)}
    failed: list[dict[str, str]] = []
    done = 0
    if left:
        pairs, models = _whole(work.source.read(left), failed), (str(work.framepack), str(work.weights))
        results = extend_together(pairs, *models, device, work.request.workers, partial(_job, work))
        with CountedProgress("extend", len(left), f"extend-{work.model[:12]}", "pairs") as progress:
            for pair, result in results:
                if isinstance(result, MemoryV2VError):
                    failed.append({"id": pair.entry.id, "reason": str(result)})
                else:
                    _keep(work, pair, result)
                    done += 1
                progress.show(done + len(failed))
    return _outcome(work, found, find_made(work), failed)


@task(task_run_name="pack {work.request.out.name}", cache_policy=NO_CACHE, persist_result=False)
def publish_dataset(work: ExtendWork, outcome: Outcome, seconds: float) -> Path:
    """Pack the samples, leave a table in Prefect, and write the page with statistics; returns the page's path.

    Samples of an earlier run that took more pairs stay.
    """
    before = read_manifest(work.request.out) or {"names": [], "rejected": {}}
    names = list(dict.fromkeys([*outcome.names, *before["names"]]))
    rejected = {**before["rejected"], **outcome.rejected}
    manifest = pack(work.request.out, names, {**work.said, "rejected": rejected})
    rows = [{"outcome": "sample", "count": len(outcome.names)}]
    rows += [{"outcome": f"rejected: {reason}", "count": count} for reason, count in counts(outcome.rejected).items()]
    rows += [{"outcome": "failed", "count": len(outcome.failed)}]
    show(create_table_artifact, rows, key="extension", description=f"Pairs of {work.request.dataset.name}")
    if outcome.made:
        size = sum(shard["bytes"] for shard in manifest["shards"]) / len(names)
        of_pair = round(seconds / outcome.tried * work.request.workers, 3)
        record_pair_rates(work.cache, _kind(work), PairRates(of_pair, size))
    clips = ExtendedClips(work.request.out)
    page = DatasetPage(work.request.dataset.name, clips.rows, counts(rejected), outcome.failed, work.settings)
    return write_dataset_page(work.request.out / PAGE, page)


def count_others(work: ExtendWork) -> int:
    """Samples of the dataset whose pairs this work does not name: of another list, or of this one as it was before."""
    manifest = read_manifest(work.request.out)
    return 0 if manifest is None else len(set(manifest["names"]) - set(work.names.values()))


def counts(rejected: Mapping[str, str]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    return dict(Counter(rejected.values()).most_common())


def _outcome(work: ExtendWork, before: Found, after: Found, failed: Sequence[dict[str, str]]) -> Outcome:
    names = tuple(name for name in work.names.values() if name in after.samples)
    rejected = {name: after.rejected[name] for name in work.names.values() if name in after.rejected}
    made = sum(name not in before.samples for name in names)
    tried = made + sum(name not in before.rejected for name in rejected) + len(failed)
    return Outcome(names, rejected, tuple(failed), made, len(names) - made, tried)


def _whole(pairs: Iterator[Pair | Broken], failed: list[dict[str, str]]) -> Iterator[Pair]:
    """Pairs that can be had; the others are noted."""
    for pair in pairs:
        if isinstance(pair, Broken):
            failed.append({"id": pair.entry.id, "reason": pair.reason})
        else:
            yield pair


def _job(work: ExtendWork, pair: Pair) -> ExtendJob:
    request = work.request
    seed = int(identify({"seed": request.seed, "pair": pair.entry.id})[:15], 16)
    return ExtendJob(
        request.height, request.width, request.clip_frames, request.segment_frames, seed, request.extension
    )


def _keep(work: ExtendWork, pair: Pair, made: Extended) -> None:
    """Write a sample, or why it is none."""
    name = work.names[pair.entry.id]
    if reason := _rejection(work, made):
        write_rejection(work.request.out, name, reason)
    else:
        write_sample(work.request.out, name, _sample(work, pair, made))


def _rejection(work: ExtendWork, made: Extended) -> str | None:
    """Why a sample is not kept."""
    wanted = work.request.extension
    if made.clip_frames < work.request.segment_frames:
        return f"shorter than a segment of {work.request.segment_frames} frames"
    if made.extension_frames >= wanted.least_frames:
        return None
    lost = next(window for window in made.windows if not window.kept)
    return f"drift of {max(lost.drift, key=lambda kind: lost.drift[kind])}"


def _sample(work: ExtendWork, pair: Pair, made: Extended) -> Sample:
    request = work.request
    cameras = (None, None) if pair.cameras is None else tuple(map(_rows, pair.cameras))
    said = {
        "id": pair.entry.id,
        "group": pair.entry.group,
        "split": split_of(pair.entry.group, request.validation_share),
        "instruction": pair.entry.instruction,
        "clip_frames": made.clip_frames,
        "frames": made.clip_frames + made.extension_frames,
        "segment_frames": request.segment_frames,
        "windows": [{"draws": each.draws, "kept": each.kept, **each.drift} for each in made.windows],
        "preview": _jpeg(made.strip),
        "source_camera": cameras[0],
        "target_camera": cameras[1],
        "seed": _job(work, pair).seed,
        "model": work.model,
        "codec": work.codec,
        "settings": json.dumps(work.settings, sort_keys=True),
    }
    return Sample(made.source, made.edited, said)


def _rows(trajectory: Any) -> bytes:
    return np.ascontiguousarray(trajectory.poses[:, :3].astype(np.float32)).tobytes()


def _jpeg(picture: np.ndarray) -> bytes:
    done, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, STRIP_QUALITY])
    assert done, "a picture in memory can be encoded"
    return content.tobytes()


def _is_made(name: str, found: Found) -> bool:
    return name in found.samples or name in found.rejected


def _kind(work: ExtendWork) -> str:
    """Runs that take as long as one another, pair by pair."""
    return identify({**work.said, "device": work.request.device})

"""Deliveries: what `memory-v2v deliver` does, as functions that return a report.

No cluster and no server is started: an output folder is read, and a folder beside it is written, in this process.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.errors import MemoryV2VError, RequestError, RunError
from storage.checksums import CHECKSUMS, Verdict, verify
from storage.delivery import Delivered, Order, deliver
from storage.finished import Finished, Wanted, find_catalog_videos, find_finished_video, is_catalog
from tasks.terminal import Counter, say
from tasks.words import count_text


@dataclass(frozen=True)
class DeliveryReport:
    """Deliveries that were made, and one line on each video that has none."""

    made: tuple[Delivered, ...]
    refused: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        return {"deliveries": [_fields(one) for one in self.made], "refused": list(self.refused)}

    def summary(self) -> str:
        return "\n".join([*map(_summary, self.made), *self.refused])


@dataclass(frozen=True)
class VerifyReport:
    """What became of deliveries."""

    verdicts: tuple[Verdict, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(fault for verdict in self.verdicts for fault in verdict.faults)

    def fields(self) -> dict[str, Any]:
        whole = sum(verdict.whole for verdict in self.verdicts)
        return {"deliveries": len(self.verdicts), "files": whole, "faults": list(self.faults)}

    def summary(self) -> str:
        sound = [one for one in self.verdicts if not one.faults]
        return "\n".join([*(f"{one.folder}: {one.whole} files are as they were sealed" for one in sound), *self.faults])


def deliver_from(folder: Path, wanted: Wanted, order: Order) -> DeliveryReport:
    """Deliver the newest finished video of an output folder that is wanted, or all finished videos of a catalog.

    Raises:
        RequestError: there is nothing of the kind, or the order makes no sense.
        RunError: it failed on the way, or no video of the catalog could be delivered.
    """
    if not is_catalog(folder):
        return DeliveryReport((_deliver(find_finished_video(folder, wanted), order),))
    if wanted.session is not None or wanted.turn is not None or order.name is not None:
        raise RequestError(f"{folder}: is a catalog; --session, --turn and --name are for the folder of one video")
    videos, made, refused = dict(find_catalog_videos(folder)), [], []
    if wanted.video is not None and wanted.video not in videos:
        raise RequestError(f"{folder}: no video {wanted.video} to deliver; there are {', '.join(list(videos)[:8])}")
    for id, found in videos.items():
        if wanted.video in (None, id):
            try:
                made.append(_deliver(_require(found), replace(order, name=id)))
            except MemoryV2VError as fault:
                refused.append(str(fault))
    if not made:
        raise RunError(f"{folder}: nothing was delivered; {'; '.join(refused) or 'it has no video'}")
    return DeliveryReport(tuple(made), tuple(refused))


def _require(found: Finished | MemoryV2VError) -> Finished:
    if isinstance(found, MemoryV2VError):
        raise found
    return found


def _deliver(finished: Finished, order: Order) -> Delivered:
    with Counter(f"proxy of {finished.path.name}") as counter:
        return deliver(finished, order, say, counter.show)


def verify_deliveries(folder: Path) -> VerifyReport:
    """Compare a delivery, or all deliveries in a folder, with their checksums.

    Raises:
        RequestError: there is none.
    """
    folders = list(_sealed(folder))
    if not folders:
        raise RequestError(f"{folder}: no delivery; expected a folder with {CHECKSUMS}, or one of such folders")
    return VerifyReport(tuple(map(verify, folders)))


def _sealed(folder: Path) -> Iterator[Path]:
    within = sorted(folder.iterdir()) if folder.is_dir() else []
    for place in (folder, *within):
        if (place / CHECKSUMS).is_file() and not place.name.startswith("."):
            yield place


def _fields(one: Delivered) -> dict[str, Any]:
    told = one.sidecar
    return {
        "folder": str(one.folder),
        "name": told.name,
        "version": told.version,
        "master": told.master.path,
        "proxy": told.proxy.path,
        "frames": told.master.nb_frames,
        "timecode": told.master.footage.timecode,
        "source_verified": told.source.verified,
        "flags": sum(len(segment.flags) for segment in told.segments),
        "conversions": list(told.conversions),
    }


def _summary(one: Delivered) -> str:
    told = one.sidecar
    footage = told.master.footage
    source = "source verified" if told.source.verified else "source not at hand, give it with --source"
    segments = count_text(len(told.segments), "segment")
    flags = count_text(sum(len(segment.flags) for segment in told.segments), "flag")
    return (
        f"{one.folder}\n  {footage.frames} frames at {footage.rate}, timecode {footage.timecode or 'none'}; "
        f"{segments}, {flags}; {source}\n  review material, not a final: see NOTICE.txt"
    )

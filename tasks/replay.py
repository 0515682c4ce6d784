"""The command that makes a turn again: for its review page, whoever asked for the turn, and however."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model.config import (
    PLAIN,
    SPEEDS,
    EditRequest,
    GateConfig,
    OutputConfig,
    Preset,
    RegionConfig,
    SpeedConfig,
    VideoRequest,
    ViewRequest,
)
from storage.review import Replay
from tasks.weights import THUMBNAIL, from_anywhere

SAID = {"retrieval.top_k", "edit.sampling.steps"}
"""Settings beside the window's that options of the commands name."""
SCALES = {"edit.sampling.guidance", "edit.sampling.first_guidance"}
"""Both are named by one option, where they are the same."""


def replay(request: VideoRequest, preset: Preset, edits: int = 0) -> Replay:
    """The command line of a request, quoted for a shell; paths are absolute, and what is usual is left out.

    `preset` is that of its model folder, `edits` the number of the turn whose result it edits.
    """
    words = ["memory-v2v", *_verb(request, edits), *_settings(request, preset), *_options(request)]
    return Replay(shlex.join(words), _unsaid(request, preset))


def _verb(request: VideoRequest, edits: int) -> list[str]:
    """The command, the video, and what only this command asks."""
    video = str(request.video.absolute())
    if isinstance(request, ViewRequest):
        named = {"instruction": request.instruction or None, "fov": request.fov, "scale": request.scale}
        named["recall"] = None if request.recall == "views" else request.recall
        cameras = [word for camera in request.cameras for word in ("--camera", _absolute(camera))]
        return ["view", video, *cameras, *_named(named), *(["--chain"] if request.chain else [])]
    assert isinstance(request, EditRequest)
    descriptor = None if request.descriptor == THUMBNAIL else from_anywhere(request.descriptor)
    return ["edit", video, *_named({"prompt": request.instruction, "descriptor": descriptor, "on": edits or None})]


def _settings(request: VideoRequest, preset: Preset) -> list[str]:
    """What is not as the model has it."""
    window, usual, sampling = request.window, preset.window, request.edit.sampling
    size = None if (window.width, window.height) == (usual.width, usual.height) else f"{window.width}x{window.height}"
    named = {
        "frames": _other(window.frames, usual.frames),
        "overlap": _other(window.overlap, usual.overlap),
        "size": size,
        "top-k": _other(request.retrieval.top_k, preset.retrieval.top_k),
        "steps": _other(sampling.steps, preset.edit.sampling.steps),
        "guidance": _other(_scale(request), _scale(preset)),
    }
    covers = isinstance(request, ViewRequest) and request.retrieval.coverage and not preset.retrieval.coverage
    return [*_named(named), *(["--coverage"] if covers else [])]


def _options(request: VideoRequest) -> list[str]:
    """What both commands ask."""
    named = {
        "session": request.session,
        "seed": request.seed or None,
        "codec": _other(request.output.codec, "h264"),
        "device": _other(request.device, "auto"),
        "speed": _other(_speed_name(request.speed), "plain"),
        "quantize": _other(request.speed.quantize, "none"),
        "weights": from_anywhere(request.weights),
        "out": str(request.out.absolute()),
        "schedule": _other(request.schedule, "sequential"),
        "editors": _other(request.editors, 1),
    }
    if isinstance(request, EditRequest):
        named["gate"] = _other(request.gate.mode, "flag")
    return [*_named(named), *(["--tone-map"] if request.output.tone_map else []), *_finishing(request.output)]


def _finishing(output: OutputConfig) -> list[str]:
    """Where the edit goes, and how it gets the source's size."""
    region = output.region
    mask = None if region.mask is None else _absolute(region.mask)
    named = {"mask": mask, "feather": region.feather, "transfer": _other(output.transfer, "upscale")}
    return [*_named(named), *(["--keep-unchanged"] if region.keep_unchanged else [])]


def _unsaid(request: VideoRequest, preset: Preset) -> tuple[str, ...]:
    """The settings that are neither the model's own nor named by an option."""
    asked, usual = (
        dict(_flat({"retrieval": one.retrieval.model_dump(), "edit": one.edit.model_dump()}))
        for one in (request, preset)
    )
    if _speed_name(request.speed) is None:
        asked, usual = (
            settings | dict(_flat({"speed": speed.model_dump(exclude={"quantize"})}))
            for settings, speed in ((asked, request.speed), (usual, PLAIN))
        )
    if isinstance(request, EditRequest) and request.gate.redoes:
        asked, usual = (
            settings | dict(_flat({"gate": gate.model_dump(exclude={"mode"})}))
            for settings, gate in ((asked, request.gate), (usual, GateConfig()))
        )
    if request.output.region.limited:
        asked["output.region.threshold"] = request.output.region.threshold
        usual["output.region.threshold"] = RegionConfig().threshold
    said = SAID | (SCALES if _scale(request) is not None else set())
    if isinstance(request, ViewRequest) and request.retrieval.coverage:
        said = said | {"retrieval.coverage"}
    return tuple(name for name, value in asked.items() if value != usual[name] and name not in said)


def _scale(settings: VideoRequest | Preset) -> float | None:
    """The guidance of all segments, None where the first ones have another."""
    sampling = settings.edit.sampling
    return sampling.guidance if sampling.guidance == sampling.first_guidance else None


def _speed_name(speed: SpeedConfig) -> str | None:
    """The name of a speed whatever its bits, None where it has none."""
    return next((name for name, named in SPEEDS.items() if _in_full(named) == _in_full(speed)), None)


def _in_full(speed: SpeedConfig) -> SpeedConfig:
    return speed.model_copy(update={"quantize": "none"})


def _flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def _named(options: Mapping[str, object]) -> list[str]:
    return [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]


def _other(value: Any, usual: Any) -> Any:
    return None if value == usual else value


def _absolute(name: str) -> str:
    """A path that holds wherever one stands; names that are none stay."""
    there = os.path.exists(name)  # noqa: PTH110 - a sentence too long for a path is no error
    return str(Path(name).absolute()) if there else name

"""From what the user typed to a request: the model folder's own settings, overridden by the user's."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flows.environment import user_folder
from model.backbones.model_folder import read_preset
from model.config import (
    SPEEDS,
    CatalogRequest,
    EditRequest,
    ExtensionRequest,
    SpeedConfig,
    VideoRequest,
    ViewRequest,
    require_torchao,
)
from model.config.base import mistakes
from model.errors import RequestError
from tasks.weights import NOVEL_VIEWS, TEXT_EDITS, ModelKind, from_anywhere, locate_weights, over_preset

Form = TypeVar("Form", bound=BaseModel)

OPTIONS = {
    "instruction": "--prompt",
    "window.frames": "--frames",
    "window.overlap": "--overlap",
    "window.width": "--size",
    "window.height": "--size",
    "retrieval.top_k": "--top-k",
    "edit.sampling.steps": "--steps",
    "edit.sampling.guidance": "--guidance",
    "output.codec": "--codec",
    "output.region.feather": "--feather",
}
"""Settings by the options that say them, where those have other names."""


def speed_of(name: str, quantize: str) -> SpeedConfig:
    """Raises:
    RequestError: there is no such speed or quantisation, or torchao is not installed.
    """
    if name not in SPEEDS:
        raise RequestError(f"speed {name!r}: expected {', '.join(SPEEDS)}")
    speed = validated(SpeedConfig, {**SPEEDS[name].model_dump(), "quantize": quantize})
    require_torchao(speed.quantize)
    return speed


def made_anywhere(request: CatalogRequest) -> CatalogRequest:
    """The same request, as it can be made wherever one stands: its paths absolute."""
    paths = {name: path.absolute() for name in ("manifest", "defaults", "out") if (path := getattr(request, name))}
    models = {name: from_anywhere(getattr(request, name)) for name in ("weights", "descriptor")}
    return request.model_copy(update={**paths, **models})


def build_request(fixed: Mapping[str, Any], choices: Mapping[str, Mapping[str, Any]]) -> EditRequest:
    """`fixed` are fields of the request; `choices` are settings by group, None where the user said nothing.

    Raises:
        WeightsError: the model folder is not there, or its preset is not valid.
        RequestError: an option makes no sense; the message names it.
    """
    return _build(EditRequest, fixed, choices, TEXT_EDITS)


def build_view_request(fixed: Mapping[str, Any], choices: Mapping[str, Mapping[str, Any]]) -> ViewRequest:
    """The same for novel views.

    Raises:
        WeightsError: the model folder is not there, or its preset is not valid.
        RequestError: an option makes no sense, or no camera is given; the message names it.
    """
    if not fixed["cameras"]:
        raise RequestError("no camera is given; give at least one, such as --camera pan-left")
    return _build(ViewRequest, fixed, choices, NOVEL_VIEWS)


def require_busy_editors(request: VideoRequest) -> None:
    """Raises:
    RequestError: more than one Editor is asked for, and an order of segments that keeps one busy.
    """
    if request.editors > 1 and request.schedule == "sequential":
        told = f"editors {request.editors}: a sequential schedule keeps one of them busy"
        raise RequestError(f"{told}; add --schedule auto, or leave them out")


AnyRequest = TypeVar("AnyRequest", bound=VideoRequest)


def _build(
    form: type[AnyRequest], fixed: Mapping[str, Any], choices: Mapping[str, Mapping[str, Any]], kind: ModelKind
) -> AnyRequest:
    window, retrieval, sampling = (
        {name: value for name, value in choices[group].items() if value is not None}
        for group in ("window", "retrieval", "sampling")
    )
    said = {"window": window, "retrieval": retrieval, "edit": {"sampling": sampling}}
    return _over_its_preset(form, {**fixed, **said}, kind, OPTIONS)


def completed(request: AnyRequest, kind: ModelKind) -> AnyRequest:
    """A request that names some settings, as the form on Prefect's page makes it: the others are the model's own.

    One that names all of them, as the command line makes it, stays as it is.

    Raises:
        WeightsError: the model folder is not there, or its preset is not valid.
        RequestError: its settings do not go with the model's; the message names them.
    """
    return _over_its_preset(type(request), request.model_dump(exclude_unset=True), kind)


def _over_its_preset(
    form: type[AnyRequest], said: Mapping[str, Any], kind: ModelKind, options: Mapping[str, str] | None = None
) -> AnyRequest:
    folder = locate_weights(said["weights"], user_folder("cache"), kind)
    return validated(form, {**said, "weights": str(folder), **over_preset(said, read_preset(folder))}, options)


def build_extension_request(fixed: Mapping[str, Any], choices: Mapping[str, int | None]) -> ExtensionRequest:
    """`choices` are sizes, None where the user said nothing: then those of the model, as far as a pair is long.

    Raises:
        WeightsError: the model folder is not there, or its preset is not valid.
        RequestError: an option makes no sense; the message names it.
    """
    said = {name: value for name, value in choices.items() if value is not None}
    return _over_its_window({**fixed, **said})


def completed_extension(request: ExtensionRequest) -> ExtensionRequest:
    """A request that names some sizes, as the form on Prefect's page makes it: the others are the model's own.

    Raises:
        WeightsError: the model folder is not there, or its preset is not valid.
        RequestError: its sizes do not go with the model's; the message names them.
    """
    said = request.model_dump(exclude_unset=True)
    return _over_its_window({"weights": request.weights, "clip_frames": request.clip_frames, **said})


def _over_its_window(said: Mapping[str, Any]) -> ExtensionRequest:
    window = read_preset(locate_weights(said["weights"], user_folder("cache"))).window
    segment = min(window.frames, said["clip_frames"])
    usual = {"height": window.height, "width": window.width, "segment_frames": segment}
    return validated(ExtensionRequest, {**usual, **said})


def validated(form: type[Form], settings: Mapping[str, Any], options: Mapping[str, str] | None = None) -> Form:
    """`options` are those by which a user says settings of other names.

    Raises:
        RequestError: a setting makes no sense; the message names it, and what was expected.
    """
    try:
        return form.model_validate(settings)
    except ValidationError as fault:
        by = {"": "settings"} | dict(options or {})
        told = (f"{by[one.field]}: {one}" if one.field in by else str(one) for one in mistakes(fault))
        raise RequestError("; ".join(told)) from None

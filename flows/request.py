"""From what the user typed to a request: the model folder's own settings, overridden by the user's."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flows.environment import user_folder
from model.config import (
    SPEEDS,
    EditRequest,
    EvaluationRequest,
    ExtensionRequest,
    SpeedConfig,
    VideoRequest,
    ViewRequest,
    require_torchao,
)
from model.errors import RequestError
from tasks.weights import NOVEL_VIEWS, TEXT_EDITS, ModelKind, locate_weights, read_preset

Form = TypeVar("Form", bound=BaseModel)


def speed_of(name: str, quantize: str) -> SpeedConfig:
    """Raises:
    RequestError: there is no such speed or quantisation, or torchao is not installed.
    """
    if name not in SPEEDS:
        raise RequestError(f"speed {name!r}: expected {', '.join(SPEEDS)}")
    speed = validated(SpeedConfig, {**SPEEDS[name].model_dump(), "quantize": quantize})
    require_torchao(speed.quantize)
    return speed


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


AnyRequest = TypeVar("AnyRequest", bound=VideoRequest)


def _build(
    form: type[AnyRequest], fixed: Mapping[str, Any], choices: Mapping[str, Mapping[str, Any]], kind: ModelKind
) -> AnyRequest:
    folder = locate_weights(fixed["weights"], user_folder("cache"), kind)
    preset = read_preset(folder).model_dump()
    said = {
        group: {name: value for name, value in values.items() if value is not None} for group, values in choices.items()
    }
    if guidance := said["sampling"].get("guidance"):
        said["sampling"]["first_guidance"] = guidance  # who names one scale means all segments
    settings = {
        **fixed,
        "weights": str(folder),
        "window": preset["window"] | said["window"],
        "retrieval": preset["retrieval"] | said["retrieval"],
        "edit": preset["edit"] | {"sampling": preset["edit"]["sampling"] | said["sampling"]},
    }
    return validated(form, settings)


def build_extension_request(fixed: Mapping[str, Any], choices: Mapping[str, int | None]) -> ExtensionRequest:
    """`choices` are sizes, None where the user said nothing: then those of the model, as far as a pair is long.

    Raises:
        WeightsError: the model folder is not there, or its preset is not valid.
        RequestError: an option makes no sense; the message names it.
    """
    window = read_preset(locate_weights(fixed["weights"], user_folder("cache"))).window
    segment = min(window.frames, fixed["clip_frames"])
    usual = {"height": window.height, "width": window.width, "segment_frames": segment}
    said = {name: value for name, value in choices.items() if value is not None}
    return validated(ExtensionRequest, {**fixed, **usual, **said})


def build_evaluation_request(fixed: Mapping[str, Any]) -> EvaluationRequest:
    """Raises:
    RequestError: an option makes no sense; the message names it.
    """
    return validated(EvaluationRequest, fixed)


def validated(form: type[Form], settings: Mapping[str, Any]) -> Form:
    """Raises:
    RequestError: a setting makes no sense; the message names it, and what was expected.
    """
    try:
        return form.model_validate(settings)
    except ValidationError as fault:
        raise RequestError("; ".join(_explain(error) for error in fault.errors())) from None


def _explain(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"]) or "settings"
    return f"{name} {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"

"""What every setting has in common."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

Precision = Literal["float32", "bfloat16"]
SESSION_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
SHOWN = 60  # letters of what was given, in a message
FOLLOWS = "default_factory_not_called"  # a default that could not be worked out, since another field is wrong


class Config(BaseModel):
    """Frozen; unknown keys are errors; docstrings below a field are its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _says_something(sentence: str) -> str:
    if not sentence.strip():
        raise ValueError("is blank; say what to change")
    return sentence


Sentence = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_says_something)]
"""An instruction: what to change, in words."""


def precision(device: str) -> Precision:
    """What a model computes in on a device."""
    return "bfloat16" if device.startswith("cuda") else "float32"


def of_the_model(schema: dict[str, Any]) -> None:
    """Leave defaults out of a JSON schema: a form sends those that it shows, and the others are the model's own."""
    for one in (schema, *schema.get("properties", {}).values()):
        one.pop("default", None)


class PresetSettings(Config):
    """Settings of which a model folder has its own (see `Preset`); those that differ from the paper say so."""

    model_config = ConfigDict(json_schema_extra=of_the_model)


class Mistake(NamedTuple):
    """One mistake in settings: where it stands, what was given there, and what is wrong with it.

    `place` is empty where several settings do not go together, `given` where it would be settings or a list; what is
    long is cut.
    """

    place: tuple[int | str, ...]
    given: str
    what: str

    @property
    def field(self) -> str:
        """The place with dots."""
        return ".".join(map(str, self.place))

    def __str__(self) -> str:
        """In one line, such as `window.frames 80: must be 4k+1; nearest are 77 and 81`."""
        return f"{' '.join(filter(None, (self.field, self.given)))}: {self.what}" if self.place else self.what


def mistakes(fault: ValidationError) -> list[Mistake]:
    """Everything that is wrong with settings, except what only follows from the rest."""
    return [
        Mistake(error["loc"], _shown(error["input"]), _said(error["type"], error["msg"]))
        for error in fault.errors()
        if error["type"] != FOLLOWS
    ]


def _shown(given: Any) -> str:
    if isinstance(given, Mapping | BaseModel | list | tuple):
        return ""
    text = repr(given)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _said(kind: str, message: str) -> str:
    return "is no setting; check its spelling" if kind == "extra_forbidden" else message.removeprefix("Value error, ")


def first_mistake(fault: ValidationError) -> tuple[str, str]:
    """The first mistake in settings: its field, with dots, and what is wrong with it."""
    first = mistakes(fault)[0]
    return first.field, first.what


def of_whole_latents(frames: int) -> int:
    """The video VAE keeps one frame and then every fourth."""
    if frames % 4 != 1:
        below = frames - (frames - 1) % 4
        raise ValueError(f"must be 4k+1; nearest are {below} and {below + 4}")
    return frames

"""What every setting has in common."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

Precision = Literal["float32", "bfloat16"]
SESSION_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Config(BaseModel):
    """Frozen; unknown keys are errors; docstrings below a field are its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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


def first_mistake(fault: ValidationError) -> tuple[str, str]:
    """The first mistake in settings: its field, with dots, and what is wrong with it."""
    error = fault.errors()[0]
    return ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")


def of_whole_latents(frames: int) -> int:
    """The video VAE keeps one frame and then every fourth."""
    if frames % 4 != 1:
        below = frames - (frames - 1) % 4
        raise ValueError(f"must be 4k+1; nearest are {below} and {below + 4}")
    return frames

"""Model folders in diffusers' format, opened with care: known classes only, safetensors only, files that are inside."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from model.errors import WeightsError


def read_model_index(folder: Path, allowed: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """`model_index.json` of a pipeline folder, every part of an `allowed` class.

    Raises:
        WeightsError: it is missing or no JSON, a part is missing, or of a class that is not known.
    """
    index = _read_json(folder / "model_index.json")
    for part, classes in allowed.items():
        named = index.get(part)
        if not (isinstance(named, list) and len(named) == 2 and named[1] in classes):
            got = named[1] if isinstance(named, list) and len(named) == 2 else named
            raise WeightsError(f"{folder}: {part} is {got}; expected {' or '.join(sorted(classes))}")
        _require_safe_part(folder / part)
    return index


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of one part.

    Raises:
        WeightsError: it is missing, or no JSON object.
    """
    return _read_json(folder / "config.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise WeightsError(f"{path}: missing; expected a complete diffusers folder") from None
    except (OSError, ValueError) as fault:
        raise WeightsError(f"{path}: cannot be read as JSON ({type(fault).__name__})") from fault
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a JSON object")
    return content


def _require_safe_part(folder: Path) -> None:
    """No code, and an index names only safetensors files that lie beside it."""
    if not folder.is_dir():
        raise WeightsError(f"{folder}: missing; expected a complete diffusers folder")
    for path in folder.iterdir():
        if path.suffix == ".py":
            raise WeightsError(f"{path}: code in a model folder is never run; remove it")
    for index in folder.glob("*.index.json"):
        for name in set(_read_json(index).get("weight_map", {}).values()):
            if Path(name).name != name or not name.endswith(".safetensors") or not (folder / name).is_file():
                raise WeightsError(f"{index}: names {name}, which is no safetensors file in that folder")

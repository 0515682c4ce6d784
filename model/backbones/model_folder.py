"""Model folders in diffusers' format, opened with care: known classes only, safetensors only, files that are inside.

Nothing here is left to the libraries' own checks, which have been passed by before: a folder that names code, of
whatever kind, is refused before they see it.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.config import PRESET_FILE, Preset
from model.errors import WeightsError, first_line

LIBRARIES = ("diffusers", "transformers", "model.backbones.transformer", "model.backbones.block_codec")
SECOND = "transformer_2"  # Wan2.2 names it, empty or not; who reads the index has a word on that
CODE_KEYS = ("auto_map", "custom_pipeline", "trust_remote_code")


def read_model_index(folder: Path, allowed: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """`model_index.json` of a pipeline folder, every part of an `allowed` class and of a known library.

    Raises:
        WeightsError: it is missing or no JSON, a part is missing, or of a class or library that is not known.
    """
    index = _read_json(folder / "model_index.json")
    _require_no_code(folder)
    for part, classes in allowed.items():
        named = index.get(part)
        if not (isinstance(named, list) and len(named) == 2 and named[1] in classes):
            got = named[1] if isinstance(named, list) and len(named) == 2 else named
            raise WeightsError(f"{folder}: {part} is {got}; expected {' or '.join(sorted(classes))}")
        require_safe_part(folder / part)
    for part, named in index.items():
        library = named[0] if isinstance(named, list) and named else None
        if library is not None and library not in LIBRARIES:
            raise WeightsError(f"{folder}: {part} is of {library!r}; expected one of {', '.join(LIBRARIES)}")
        if library is not None and allowed and part not in (*allowed, SECOND):
            raise WeightsError(f"{folder}: has a {part}, of which nothing is known; expected {', '.join(allowed)}")
    return index


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of one part.

    Raises:
        WeightsError: it is missing, or no JSON object.
    """
    return _read_json(folder / "config.json")


def read_preset(folder: Path) -> Preset:
    """Settings in the folder's `memory_v2v.json`; the defaults of the published bases where it has none.

    Raises:
        WeightsError: the file is there but not valid.
    """
    path = folder / PRESET_FILE
    if not path.is_file():
        return Preset(name=folder.name)
    try:
        return Preset.model_validate(json.loads(path.read_text()))
    except (ValueError, ValidationError) as fault:
        raise WeightsError(f"{path}: not a valid preset: {first_line(fault)}") from fault


def _read_json(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise WeightsError(f"{path}: is no regular file; expected a complete diffusers folder")
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise WeightsError(f"{path}: missing; expected a complete diffusers folder") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise WeightsError(f"{path}: cannot be read as JSON ({type(fault).__name__})") from fault
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: expected a JSON object")
    if named := [key for key in CODE_KEYS if content.get(key)]:
        raise WeightsError(f"{path}: names code ({named[0]}), which is never run; remove that entry")
    return content


def require_safe_part(folder: Path) -> None:
    """No code, and an index names only safetensors files that lie beside it.

    Raises:
        WeightsError: there is code, or a name in an index is that of another file, or the folder is missing.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder}: missing; expected a complete diffusers folder")
    _require_no_code(folder)
    for config in folder.glob("*config.json"):
        _read_json(config)
    for index in folder.glob("*.index.json"):
        places = _read_json(index).get("weight_map", {})
        if not isinstance(places, dict):
            raise WeightsError(f"{index}: its weight_map is no table; expected files by the names of tensors")
        for name in {str(name) for name in places.values()}:
            if Path(name).name != name or not name.endswith(".safetensors") or not (folder / name).is_file():
                raise WeightsError(f"{index}: names {name}, which is no safetensors file in that folder")


def _require_no_code(folder: Path) -> None:
    for path in folder.glob("*.py"):
        raise WeightsError(f"{path}: code in a model folder is never run; remove it")

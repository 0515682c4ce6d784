"""Find a model folder by what the user typed, and read the settings it was made for. Loads no weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from model.config import Preset
from model.errors import WeightsError

UNTRAINED = "untrained"
PRESET_FILE = "memory_v2v.json"


def locate_weights(name: str, cache: Path) -> Path:
    """The folder of a model: a local path, a hub id `owner/name[@revision]`, or `untrained`.

    `untrained` is LucyEdit's architecture at toy size with random weights, built by code on first use below `cache`.

    Raises:
        WeightsError: there is no such folder, or the hub cannot be reached.
    """
    if name == UNTRAINED:
        return _build_untrained(cache / "models" / UNTRAINED)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise WeightsError(
                f"{folder}: no model_index.json in it; expected a diffusers folder with a LucyEdit-like pipeline"
            )
        return folder.resolve()
    if folder.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise WeightsError(f"{name}: no such model folder; give --weights a diffusers folder or a hub id 'owner/name'")
    return _download(name)


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
        raise WeightsError(f"{path}: not a valid preset: {str(fault).splitlines()[0]}") from fault


def _build_untrained(folder: Path) -> Path:
    """Build the toy model once; concurrent builders wait. A process of its own, since it loads torch."""
    if (folder / PRESET_FILE).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / PRESET_FILE).is_file():
            command = [sys.executable, "-m", "model.backbones.tiny", str(folder)]
            built = subprocess.run(command, capture_output=True, text=True, check=False)
            if built.returncode:
                last = (built.stderr.strip() or "no message").splitlines()[-1]
                raise WeightsError(f"{folder}: the untrained model could not be built: {last}")
    return folder


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"],
            local_files_only=os.environ.get("HF_HUB_OFFLINE") == "1",
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as fault:
        raise WeightsError(
            f"{name}: no such folder here, and the hub did not serve it ({type(fault).__name__}); "
            "download it and give --weights the folder"
        ) from fault
    return Path(found)

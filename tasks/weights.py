"""Find a model folder by what the user typed, and read the settings it was made for. Loads no weights."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from model.backbones.model_folder import read_config
from model.config import PRESET_FILE, Preset, WindowConfig
from model.errors import RequestError, WeightsError
from model.rehearsal import PIPELINE, write_rehearsal
from storage.content_id import hash_file, identify

UNTRAINED = "untrained"
REHEARSAL = re.compile(r"rehearsal(?::(\d{1,5}(?:\.\d{1,3})?))?")
REHEARSED_SECONDS = "15"  # of a segment, if none are given
THUMBNAIL = "thumbnail"
BUNDLED = Path(__file__).resolve().parents[1] / "checkpoints"
OF_A_CHECKOUT = ("demo", "demo-views")
PRESET_GROUPS = ("window", "retrieval", "edit")
USUAL_SCALE, USUAL_PATCH = 8, (1, 2, 2)  # pixels to a row of latents, rows to a token, where none are told (diffusers)


@dataclass(frozen=True)
class ModelKind:
    """What a command needs of a model: the pipeline class that its folder names, and the same in words.

    `untrained` is the folder, below the cache, of the one at toy size with random weights.
    """

    pipeline: str
    words: str
    command: str
    untrained: str


TEXT_EDITS = ModelKind("LucyEditPipeline", "a diffusers folder with a LucyEdit-like pipeline", "edit", "untrained")
NOVEL_VIEWS = ModelKind(
    "WanPipeline", "a diffusers folder with a ReCamMaster-like pipeline (Wan)", "view", "untrained-views"
)
KINDS = {kind.pipeline: kind for kind in (TEXT_EDITS, NOVEL_VIEWS)}


def locate_weights(name: str, cache: Path, kind: ModelKind = TEXT_EDITS, *, offline: bool = False) -> Path:
    """The folder of a model: a bundled one by its name, a local path, a hub id `owner/name[@revision]`, or `untrained`.

    `untrained` is built by code on first use below `cache`, and so is `rehearsal[:SECONDS]`, a stand-in that waits for
    so long on each segment (`model/rehearsal.py`). Any kind of model is found; see `require_kind`. Where `offline`,
    nothing is downloaded.

    Raises:
        WeightsError: there is no such folder, or the hub cannot be reached.
    """
    if name == UNTRAINED:
        return _build(cache / "models" / kind.untrained, "model.backbones.tiny", PRESET_FILE, kind.pipeline)
    if rehearsed := REHEARSAL.fullmatch(name):
        return _rehearse(cache, rehearsed[1] or REHEARSED_SECONDS)
    if _is_bundled(name):
        return BUNDLED / name
    if name in OF_A_CHECKOUT and not Path(name).exists():
        raise WeightsError(
            f"{name}: comes with a checkout of the project (pip install -e .), which this installation is not; "
            f"expected {kind.words}, or '{UNTRAINED}'"
        )
    return _find(name, "model_index.json", f"{kind.words}, '{UNTRAINED}'", offline=offline)


def from_anywhere(name: str) -> str:
    """The same model, named so that it is found wherever one stands: folders by their whole paths."""
    ours = name in (UNTRAINED, THUMBNAIL) or _is_bundled(name) or REHEARSAL.fullmatch(name)
    return name if ours or not Path(name).is_dir() else str(Path(name).absolute())


def _is_bundled(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z0-9-]+", name)) and (BUNDLED / name / "model_index.json").is_file()


def require_kind(folder: Path, kind: ModelKind) -> None:
    """Refuse a model that does something else.

    Raises:
        WeightsError: the folder is of another kind, or does not say of which.
    """
    try:
        named = json.loads((folder / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError(f"{folder}: its model_index.json names no pipeline; expected {kind.words}") from None
    if named != kind.pipeline and not (named == PIPELINE and kind is TEXT_EDITS):
        other = KINDS.get(named)
        use = f"; use it with memory-v2v {other.command}" if other else ""
        raise WeightsError(f"{folder}: is a {named}; memory-v2v {kind.command} needs {kind.words}{use}")


def require_size(folder: Path, window: WindowConfig) -> None:
    """Refuse pictures that a model cannot cut into its tokens. A folder that names none takes every size: a rehearsal.

    Raises:
        RequestError: a side is no multiple of a token; the message names the nearest size below.
        WeightsError: the folder tells nonsense of its tokens.
    """
    parts = [folder / part for part in ("vae", "transformer")]
    if not all((part / "config.json").is_file() for part in parts):
        return
    codec, transformer = map(read_config, parts)
    scale, patch = codec.get("scale_factor_spatial", USUAL_SCALE), transformer.get("patch_size", USUAL_PATCH)
    if not (isinstance(patch, list | tuple) and len(patch) == 3 and all(map(_counts, (scale, *patch)))):
        raise WeightsError(f"{folder}: tokens of {patch} latents, of {scale} pixels; expected such as [1, 2, 2], of 8")
    step = scale * patch[1]
    if window.width % step or window.height % step:
        width, height = (max(step, side - side % step) for side in (window.width, window.height))
        asked = f"{window.width}x{window.height}"
        raise RequestError(f"{asked}: this model needs multiples of {step}, such as {width}x{height}")


def _counts(number: object) -> bool:
    return isinstance(number, int) and number > 0


def locate_framepack(name: str, cache: Path) -> Path:
    """The folder of a FramePack: a local path, a hub id, or `untrained` (see `model/backbones/tiny_framepack.py`).

    Raises:
        WeightsError: there is no such folder, or the hub cannot be reached.
    """
    if name == UNTRAINED:
        return _build(cache / "models" / "untrained-framepack", "model.backbones.tiny_framepack", "model_index.json")
    return _find(name, "model_index.json", "a diffusers folder of FramePack")


def locate_descriptor(name: str) -> str:
    """What the Embedder loads: `thumbnail`, or the folder of a DINOv2, by local path or hub id.

    Raises:
        WeightsError: there is no such folder, or the hub cannot be reached.
    """
    return name if name == THUMBNAIL else str(_find(name, "config.json", "a DINOv2 folder"))


def over_preset(said: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
    """The settings of a request, in the groups of a preset: what somebody said, and for the rest what the model says.

    Who names one guidance scale means all segments, also the first.
    """
    settings = _over(preset.model_dump(exclude={"name"}), {group: said.get(group, {}) for group in PRESET_GROUPS})
    sampling = said.get("edit", {}).get("sampling", {})
    if "guidance" in sampling and "first_guidance" not in sampling:
        settings["edit"]["sampling"]["first_guidance"] = sampling["guidance"]
    return settings


def _over(usual: dict[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """`usual` with what was `said` in its place, also within settings that have settings themselves."""
    return usual | {
        name: _over(usual[name], value) if isinstance(value, Mapping) and isinstance(usual.get(name), dict) else value
        for name, value in said.items()
    }


def codec_id(folder: Path) -> str:
    """One name for a codec, wherever it lies: its weights and its settings, without diffusers' remarks on them.

    Raises:
        WeightsError: there is none.
    """
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: no config.json in it; expected the video VAE of a diffusers folder")
    settings = read_config(folder)
    said = {name: value for name, value in settings.items() if not name.startswith("_")}
    return identify({"config": said, "weights": [hash_file(path) for path in sorted(folder.glob("*.safetensors"))]})


def _find(name: str, sign: str, wanted: str, *, offline: bool = False) -> Path:
    """A folder with the file `sign` in it, downloaded where `name` is a hub id."""
    folder = Path(name).expanduser() if name.startswith("~/") else Path(name)
    if folder.is_dir():
        if not (folder / sign).is_file():
            raise WeightsError(f"{folder}: no {sign} in it; expected {wanted}")
        return folder.resolve()
    if folder.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise WeightsError(f"{name}: no such model folder; expected {wanted}, or a hub id 'owner/name'")
    return _download(name, offline=offline or os.environ.get("HF_HUB_OFFLINE") == "1")


def _rehearse(cache: Path, seconds: str) -> Path:
    folder = cache / "models" / f"rehearsal-{seconds}"
    if not (folder / PRESET_FILE).is_file():
        write_rehearsal(folder, float(seconds))
    return folder


def _build(folder: Path, module: str, last: str, *options: str) -> Path:
    """Build a toy model once, by a process of its own, since that loads torch; concurrent builders wait.

    `last` is the file that the module writes last; `options` are what it takes besides the folder.
    """
    if (folder / last).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / last).is_file():
            command = [sys.executable, "-P", "-m", module, str(folder), *options]
            built = subprocess.run(command, capture_output=True, text=True, check=False)
            if built.returncode:
                reason = (built.stderr.strip() or "no message").splitlines()[-1]
                raise WeightsError(f"{folder}: the untrained model could not be built: {reason}")
    return folder


def _download(name: str, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage] - of the library that the hub asks with
        LocalEntryNotFoundError,
    )

    repository, _, revision = name.partition("@")
    try:
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"],
            local_files_only=offline,
        )
    except (HTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as fault:
        raise WeightsError(
            f"{name}: no such folder here, and {'not downloaded yet' if offline else 'the hub did not serve it'} "
            f"({type(fault).__name__}); "
            "download it and give the folder"
        ) from fault
    return Path(found)

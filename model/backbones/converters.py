"""Make a model folder for new views from what others publish: a Wan folder in diffusers' format, and a `.ckpt`.

    python -m model.backbones.converters Wan2.1-T2V-1.3B-Diffusers step20000.ckpt recam --origin recammaster
    python -m model.backbones.converters Wan2.1-T2V-1.3B-Diffusers memoryv2v.ckpt recam --origin memory-v2v

The report names every tensor that was matched by shape alone, that is missing, or that has no place; anything left over
is an error unless a pattern names it. Memory modules that the checkpoint lacks start from the converted base.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from model.backbones.backbone import PARTS, load_transformer, write_model
from model.backbones.checkpoint_file import read_checkpoint
from model.backbones.matching import Report, match
from model.backbones.model_folder import read_model_index, read_preset
from model.backbones.transformer import MemoryWanTransformer
from model.config import EditConfig, MergeConfig, Preset, RetrievalConfig, SamplingConfig
from model.errors import RequestError, WeightsError

OriginName = Literal["recammaster", "memory-v2v"]
SHIFT = 5.0
NEGATIVE = (  # what Wan2.1 and ReCamMaster are published with, word for word
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"  # noqa: RUF001
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"  # noqa: RUF001
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"  # noqa: RUF001
)


@dataclass(frozen=True)
class Origin:
    """Who made a checkpoint: what it may lack, and the settings it was trained for."""

    may_miss: tuple[str, ...]
    edit: EditConfig
    retrieval: RetrievalConfig

    def preset(self, name: str, base: Path) -> Preset:
        """With the window of the model that it is a version of.

        Raises:
            WeightsError: the base has a preset that is not valid.
        """
        return Preset(name=name, window=read_preset(base).window, retrieval=self.retrieval, edit=self.edit)


SAMPLING = SamplingConfig(negative=NEGATIVE)
ORIGINS: dict[OriginName, Origin] = {
    "recammaster": Origin(
        ("memory_tokenizers.*", "merger.*"),
        EditConfig(source_camera="target", sampling=SAMPLING, merging=MergeConfig(mode="off")),
        RetrievalConfig(top_k=0),  # nobody has trained it to remember, nor to have frames merged
    ),
    "memory-v2v": Origin((), EditConfig(sampling=SAMPLING), RetrievalConfig()),  # tuned from that one
}


def convert(
    base: Path,
    checkpoint: Path,
    out: Path,
    origin: OriginName,
    may_miss: Collection[str] = (),
    may_ignore: Collection[str] = (),
) -> Report:
    """Write `out`, a model folder with the weights of `checkpoint` and all else of the Wan folder `base`.

    `may_miss` are glob patterns of our parameters that the checkpoint may lack, `may_ignore` of its tensors that may
    be left out. Nothing is written unless everything fits.

    Raises:
        WeightsError: a file is no such thing, or tensors are left over; the full report is in the error's notes.
        RequestError: `out` exists.
    """
    if out.exists():
        raise RequestError(f"{out} exists; give the name of a new folder")
    made_by = ORIGINS[origin]
    read_model_index(base, PARTS)
    preset = made_by.preset(origin, base)
    model = load_transformer(base / "transformer", torch.float32, cameras=True)
    tensors = read_checkpoint(checkpoint)
    report = match(_shapes(model.state_dict()), _shapes(tensors))
    try:
        report.check({*made_by.may_miss, *may_miss}, may_ignore)
    except WeightsError as error:
        error.add_note(str(report))
        raise
    _fill(model, {ours: tensors[theirs] for ours, theirs in report.matched.items()})
    _write(base, out, model, preset)
    return report


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _fill(model: MemoryWanTransformer, weights: dict[str, Tensor]) -> None:
    """Load the weights in the type they have; memory modules that are not among them start from the new base."""
    dtypes = {tensor.dtype for tensor in weights.values()}
    nn.Module.to(model, dtypes.pop() if len(dtypes) == 1 else torch.float32)
    model.load_state_dict(weights, strict=False)
    model.inflate_memory()
    model.load_state_dict(weights, strict=False)


def _write(base: Path, out: Path, model: MemoryWanTransformer, preset: Preset) -> None:
    """Write beside `out` and rename, so that a folder of that name is always complete."""
    unfinished = out.with_name(f"{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_model(base, unfinished, model)
    _set_shift(unfinished / "scheduler" / "scheduler_config.json")
    preset.write(unfinished)
    unfinished.rename(out)


def _set_shift(path: Path) -> None:
    """Wan folders come with a milder noise schedule than both authors sampled with."""
    config = json.loads(path.read_text())
    key = "shift" if config["_class_name"] == "FlowMatchEulerDiscreteScheduler" else "flow_shift"
    path.write_text(json.dumps({**config, key: SHIFT}, indent=2))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: print the report, or what is wrong; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        report = convert(given.base, given.checkpoint, given.out, given.origin, given.may_miss, given.may_ignore)
    except (WeightsError, RequestError) as error:
        print("\n".join([*getattr(error, "__notes__", []), f"error: {error}"]), file=sys.stderr)
        return error.exit_code
    print(json.dumps(report.as_json()) if given.json else report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.backbones.converters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", type=Path, help="Wan2.1-T2V-1.3B in diffusers' format")
    parser.add_argument("checkpoint", type=Path, help=".ckpt of the DiT")
    parser.add_argument("out", type=Path, help="model folder to write")
    parser.add_argument("--origin", choices=get_args(OriginName), required=True, help="who made the checkpoint")
    parser.add_argument("--may-miss", nargs="*", default=[], help="patterns of our parameters that it may lack")
    parser.add_argument("--may-ignore", nargs="*", default=[], help="patterns of its tensors to leave out")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What each way to a faster edit gains, and what it costs on the proof, with the model that comes with the project.

The metric is seconds of an edit with the memory's usual recall, in parts of `plain`; the price is measured as the proof
is (`benchmarks/consistency.py`), on open instructions of held-out worlds: agreement with the first edit, edit rate, and
PSNR outside all things. `picture` is the PSNR of an edit against the plain one of the same segment and memories: what
is exact is beyond 100 dB. `stock` is diffusers' own pipeline, which knows no memory, for one segment.

    python benchmarks/speedups.py [--json] [--write] [--videos 24] [--only plain exact]

All ways but those that say otherwise take twelve steps, more than the demo needs, as large models do. Times are what
one thread computes, edits of one segment in turn there and back; `int8` needs torchao (`pip install
'memory-v2v[quantize]'`) and is left out without it.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from PIL import Image

from flows.environment import prepare_environment
from model.backbones.model_folder import read_preset
from model.config import PLAIN, EditConfig, Preset, SpeedConfig, WorldConfig
from model.editor import MemoryEditor
from model.metrics.measured import MeasuredEditor
from model.types import EditedSegment, Memory
from reporting import (
    REPETITIONS,
    ROOT,
    Figures,
    page,
    parser,
    processor_seconds,
    publish,
    ratio,
    say,
    spread,
    table,
    take_turns,
    tidy,
    told,
)
from tasks.proof.judging import held_out
from tasks.proof.playing import Clip
from tasks.proof.showing import open_seeds
from tasks.proof.verdicts import Job, Model, Verdict, do_job, sum_up

DEMO = ROOT / "checkpoints" / "demo"
FIRST_SEED = 2000  # of the held-out worlds that settings are chosen on; the proof's begin at 0
METHOD = "memory"
MEASURES = ("agreement", "agreement_after_gap", "edit_rate", "psnr_outside")
SHIFT = 10.0  # of the demo model's time
STEPS = 12
EXACT_DB = 120.0


@dataclass(frozen=True)
class Way:
    """A speed, and with how many steps of which solver: Euler's, the model's own, or UniPC."""

    speed: SpeedConfig = PLAIN
    steps: int = STEPS
    unipc: bool = False

    def config(self, preset: Preset) -> EditConfig:
        sampling = preset.edit.sampling.model_copy(update={"steps": self.steps})
        return preset.edit.model_copy(update={"sampling": sampling})

    def editor(self) -> MemoryEditor:
        editor = MemoryEditor.from_pretrained(DEMO, speed=self.speed)
        if self.unipc:
            editor.backbone.pipeline.scheduler = UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT
            )
        return editor


WAYS: Mapping[str, Way] = {
    "plain": Way(),
    "exact": Way(SpeedConfig(compile=True)),
    "guidance half": Way(SpeedConfig(guided_share=0.5)),
    "forecast .05": Way(SpeedConfig(forecast=0.05)),
    "forecast .1": Way(SpeedConfig(forecast=0.1)),
    "forecast .2": Way(SpeedConfig(forecast=0.2)),
    "8 steps": Way(steps=8),
    "6 steps": Way(steps=6),
    "UniPC, 6 steps": Way(steps=6, unipc=True),
    "int8": Way(SpeedConfig(quantize="int8")),
    "fast": Way(SpeedConfig(compile=True, guided_share=0.5, forecast=0.1)),
    "fast, 6 steps": Way(SpeedConfig(compile=True, guided_share=0.5, forecast=0.1), steps=6),
}


class ConfiguredEditor:
    """The model with the settings of a way, whatever steps it is asked for; work is not counted."""

    def __init__(self, editor: MemoryEditor, config: EditConfig) -> None:
        self._editor, self._config = MeasuredEditor(editor), config

    def edit(
        self, source: np.ndarray, instruction: str, memories: Sequence[Memory], seed: int, config: EditConfig
    ) -> EditedSegment:
        asked = config.model_copy(update={"sampling": self._config.sampling})
        return self._editor.edit(source, instruction, memories, seed, asked)

    def flops(self, source: np.ndarray, memories: Sequence[Memory], config: EditConfig) -> int:
        return 0

    def reconstruct(self, latents: np.ndarray) -> np.ndarray:
        return self._editor.reconstruct(latents)


def world_of(preset: Preset) -> WorldConfig:
    """The worlds of the proof, shorter."""
    return WorldConfig(segments=12, segment_frames=preset.window.frames, least_shown=2, least_gap=4)


def judge(way: Way, preset: Preset, videos: int) -> Figures:
    """The proof's measures of the memory, on so many videos, with their intervals."""
    world, model = world_of(preset), Model("demo", DEMO, "demo", preset)
    seeds = list(islice(open_seeds(world, FIRST_SEED), videos))
    editor = ConfiguredEditor(way.editor(), way.config(preset))
    verdicts: list[Verdict] = []
    for number, pair in enumerate(zip(seeds[::2], seeds[1::2], strict=True), 1):
        verdicts += do_job(editor, Job(model, world, "world", pair, ((METHOD,), (METHOD,)), Path("nowhere")))
        say(f"  {2 * number} of {videos} videos")
    row = sum_up(verdicts, (METHOD,))[METHOD]
    return {name: _figure(row[name]) for name in MEASURES}


def _figure(figure: Any) -> Figures:
    return {name: getattr(figure, name) for name in ("value", "low", "high", "n")}


class Scene:
    """One segment of a held-out world with four memories, as the plain model edited them, and one without."""

    def __init__(self, preset: Preset) -> None:
        self.clip: Clip = held_out(world_of(preset), next(open_seeds(world_of(preset), FIRST_SEED))).clip
        editor, config = WAYS["plain"].editor(), WAYS["plain"].config(preset)
        recalled = [editor.edit(self.clip.segments[at], self.clip.instruction, (), at, config) for at in range(4)]
        self.memories = [
            Memory(str(at), each.edited, each.source, is_previous=at == 3) for at, each in enumerate(recalled)
        ]

    def edits(self, editor: MemoryEditor, config: EditConfig) -> Iterator[tuple[str, Callable[[], EditedSegment]]]:
        """The two edits that are timed, each of one draft."""
        sampling = config.sampling.model_copy(update={"first_drafts": 1})
        config = config.model_copy(update={"sampling": sampling})
        for name, memories in (("alone", ()), ("with memory", self.memories)):
            yield (
                name,
                lambda memories=memories: editor.edit(
                    self.clip.segments[4], self.clip.instruction, memories, 4, config
                ),
            )

    def stock(self, preset: Preset) -> Callable[[], object]:
        """The segment by diffusers' own pipeline, guided as a first edit is."""
        pipeline, sampling = WAYS["plain"].editor().backbone.pipeline, WAYS["plain"].config(preset).sampling
        frames = [Image.fromarray(np.rint(frame * 255).astype(np.uint8)) for frame in self.clip.segments[4]]
        height, width = self.clip.segments.shape[2:4]
        asked = {
            "video": frames,
            "prompt": self.clip.instruction,
            "negative_prompt": "",
            "height": height,
            "width": width,
            "num_frames": len(frames),
            "num_inference_steps": sampling.steps,
            "guidance_scale": sampling.scale(recalls=False),
            "max_sequence_length": pipeline.tokenizer.model_max_length,
            "output_type": "pt",
        }
        pipeline.set_progress_bar_config(disable=True)
        return lambda: pipeline(**asked)


def measure_times(names: Sequence[str], preset: Preset, repetitions: int) -> Figures:
    """By way: seconds of both edits, their ratio to plain, and how near the picture is to plain's."""
    scene = Scene(preset)
    runs: dict[str, Callable[[], object]] = {"stock": scene.stock(preset)}
    pictures: dict[str, np.ndarray] = {}
    for name in names:
        for kind, run in scene.edits(WAYS[name].editor(), WAYS[name].config(preset)):
            runs[f"{name}, {kind}"], pictures[f"{name}, {kind}"] = run, run().frames
        say(f"{name}: ready")
    times = take_turns(runs, repetitions, clock=processor_seconds)
    figures: Figures = {"stock": {"seconds": spread(times["stock"])}}
    for key, picture in pictures.items():
        kind = key.rpartition(", ")[2]
        figures[key] = {
            "seconds": spread(times[key]),
            "times_plain": ratio(times[key], times[f"plain, {kind}"]),
            "times_stock": ratio(times[key], times["stock"]),
            "picture": _psnr(picture, pictures[f"plain, {kind}"]),
        }
    return figures


def _psnr(picture: np.ndarray, plain: np.ndarray) -> float:
    error = float(np.mean((picture.astype(np.float64) - plain) ** 2))
    return EXACT_DB if error == 0 else tidy(min(EXACT_DB, -10 * np.log10(error)))


def as_markdown(figures: Figures) -> str:
    """The page."""
    times, proof = figures["times"], figures["proof"]
    rows = []
    for name in proof:
        alone, recalling = times[f"{name}, alone"], times[f"{name}, with memory"]
        cells = [told(each["times_plain"]) for each in (alone, recalling)]
        rows.append([name, *cells, told(alone["times_stock"]), told(recalling["times_stock"]), recalling["picture"]])
    price = [[name, *(_cell(row[measure]) for measure in MEASURES)] for name, row in proof.items()]
    head = ["way", "alone", "with memory", "alone, times stock", "with memory, times stock", "picture, dB"]
    first = next(iter(proof.values()))
    return page(
        "Faster edits, and their price on the proof",
        f"Stock diffusers, one segment: {told(times['stock']['seconds'], ' s')}.",
        "## Time, in parts of plain and of stock diffusers",
        table(head, rows),
        f"## Price, {figures['videos']} open videos of 12 segments ({first['agreement_after_gap']['n']} with a return)",
        table(["way", "agreement", "after gaps", "repainted", "PSNR outside, dB"], price),
    )


def _cell(figure: Figures) -> str:
    if figure["value"] is None:
        return "-"
    return f"{tidy(figure['value'])} ({tidy(figure['low'])}-{tidy(figure['high'])})"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    prepare_environment()
    torch.set_num_threads(1)
    preset = read_preset(DEMO)
    names = [name for name in options.only if name != "int8" or find_spec("torchao")]
    if "plain" not in names:
        names.insert(0, "plain")
    figures: Figures = {"videos": options.videos, "times": measure_times(names, preset, options.repetitions)}
    figures["proof"] = {}
    for name in names:
        say(f"{name}: judged on the proof")
        figures["proof"][name] = judge(WAYS[name], preset, options.videos)
    publish("speedups", figures, as_markdown(figures), options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--videos", type=int, default=24, help="open videos of the proof, an even number")
    options.add_argument("--only", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    options.add_argument("--repetitions", type=int, default=REPETITIONS)
    chosen = options.parse_args(arguments)
    if chosen.videos < 2 or chosen.videos % 2:
        options.error(f"--videos {chosen.videos}: expected an even number, since memories are shuffled between two")
    return chosen


if __name__ == "__main__":
    main()

"""The paper's Tables 1 to 4 and Figs. 7 to 9, filled in for whatever model is given. Its own numbers stand beside ours.

Nothing is made up: a cell whose weights or data are not here says what it needs and where.

    python benchmarks/paper.py table1|table2|table3|table4|fig7|fig8|fig9 [--weights demo] [--video FILE ...] [--json]

    table1  how stable responsiveness is over blocks: any model
    table2  novel views: Ind, AR and memory, three turns that look to one side; a model of views
    table3  long edits: Ind, FIFO (the segment before alone) and memory; a model of text edits
    table4  each component alone, five turns of views, the first and the last to one side; a model of views
    fig7    half of the frames merged or discarded, of low or high responsiveness: any model
    fig8    responsiveness of views that are related to the target, unrelated, and of the user's video, by block
    fig9    work and seconds by number of memories: any model; at the published sizes: benchmarks/flops.py

`--instruments` names the folder of weights that metrics need (docs/metrics.md), `--out` where edits and plots go. Edits
are resumed and found again, as by `memory-v2v`. The default model knows a toy world: its numbers say that this runs.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.environment import prepare_environment, user_folder
from model.errors import MemoryV2VError, RequestError

if TYPE_CHECKING:
    from model.config import EditRequest, Preset, ViewRequest
    from model.editor import MemoryEditor
    from model.metrics.studies import Scene

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "examples" / "clip.mp4"
COUNTS = (0, 1, 3, 5, 10)
THREE = ("pan-left", "arc-right", "pan left 15deg and tilt up 5deg")
FIVE = ("pan-right", "tilt-up", "zoom-in", "tilt-down", "arc-left")
RELATED = ("pan-right", "tilt-up", "arc-left")
QUALITY = ("subject_consistency", "imaging_quality", "temporal_flickering", "motion_smoothness")
TABLE2 = ("met3r", "flow_view_distance", "rotation_error", "translation_error", *QUALITY)
TABLE3 = (
    *("subject_consistency", "background_consistency", "aesthetic_quality", "imaging_quality"),
    *("temporal_flickering", "motion_smoothness", "dino_f", "clip_f"),
)
TABLE4 = ("met3r", "flow_view_distance", "subject_consistency", "aesthetic_quality", *QUALITY[1::2])
OTHERS = {"table2": ("TrajCrafter",), "table3": ("TokenFlow", "RAVE", "CCEdit")}
PAPER: Mapping[str, Mapping[str, Sequence[float | None]]] = {
    "table1": {
        "block 1": (0.608, 0.506, 0.730),
        "block 11": (0.723, 0.657, 0.758),
        "block 21": (0.753, 0.683, 0.793),
    },
    "table2": {
        "TrajCrafter": (0.1818, None, 3.66, 57.44, 0.9452, 0.7385, 0.9661, 0.9880),
        "ReCam (Ind)": (0.1892, None, 1.97, 24.23, 0.9483, 0.7186, 0.9765, 0.9931),
        "ReCam (AR)": (0.1485, None, None, None, None, None, None, None),
        "Memory-V2V": (0.1357, None, 1.65, 13.47, 0.9494, 0.7242, 0.9728, 0.9933),
    },
    "table3": {
        "LucyEdit (Ind)": (0.8683, 0.9026, 0.4601, 0.6429, 0.9844, 0.9915, 0.6856, 0.8225),
        "LucyEdit (FIFO)": (0.8737, 0.9042, 0.4527, 0.5598, 0.9844, 0.9919, 0.6784, 0.8198),
        "TokenFlow": (0.9191, 0.9172, 0.4206, 0.6649, 0.9845, 0.9896, 0.6480, 0.7563),
        "RAVE": (0.9220, 0.9322, 0.4703, 0.6012, 0.9813, 0.9872, 0.7308, 0.7713),
        "CCEdit": (0.8698, 0.9101, 0.4113, 0.6592, 0.9788, 0.9762, 0.6088, 0.7228),
        "Memory-V2V": (0.9326, 0.9233, 0.4950, 0.6759, 0.9862, 0.9939, 0.8019, 0.8741),
    },
    "table4": {
        "dynamic tokenization only": (0.2234, None, 0.9368, 0.5632, 0.7307, 0.9917, 980.80),
        "+ video retrieval": (0.2169, None, 0.9338, 0.5632, 0.7288, 0.9918, 965.95),
        "+ adaptive token merging": (0.2344, None, 0.9361, 0.5626, 0.7287, 0.9921, 661.31),
        "+ all": (0.2208, None, 0.9351, 0.5636, 0.7300, 0.9919, 648.5),
    },
}
"""What the paper reports, in the order of our columns; None is not reported."""

Rows = dict[str, dict[str, Any]]


def load(weights: str) -> tuple["MemoryEditor", "Preset"]:
    """A model of either kind, on one thread, and its settings.

    Raises:
        WeightsError: it is not there, or does not load.
    """
    import torch

    from model.backbones.model_folder import read_preset
    from model.editor import MemoryEditor
    from tasks.weights import locate_weights

    folder = locate_weights(weights, user_folder("cache"))
    torch.set_num_threads(1)
    return MemoryEditor.from_pretrained(folder), read_preset(folder)


def read_segments(video: Path, preset: "Preset", count: int) -> list[np.ndarray]:
    """The first whole segments of a video as the model sees them, `[frame, height, width, 3]` in [0, 1]."""
    from model.segments import plan_segments
    from model.types import Shot, Span
    from storage.geometry import fit
    from storage.probe import probe
    from storage.video import read_spans

    info, window = probe(video), preset.window
    planned = plan_segments([Shot(0, Span(0, info.frames))], window.frames, window.overlap)
    spans = [segment.span for segment in planned if not segment.padding][:count]
    if len(spans) < 2:
        raise RequestError(f"{video}: has fewer than two segments of {window.frames} frames; give a longer video")
    frames = read_spans(info, spans, fit(info, window.height, window.width), tone_map=info.hdr)
    return [(each / np.float32(np.iinfo(each.dtype).max)).astype(np.float32) for each in frames]


def make_scene(editor: "MemoryEditor", preset: "Preset", video: Path, options: argparse.Namespace) -> "Scene":
    """What a model remembers of a video, by its kind: earlier segments, or earlier views of the first."""
    from model.camera.presets import PRESETS
    from model.camera.presets import preset as move
    from model.metrics.studies import scene_of_segments, scene_of_views

    if editor.backbone.cameras:
        moves = (*RELATED[:2], *(name for name in PRESETS if name not in RELATED))[: options.memories]
        cameras = [move(name, preset.window.frames) for name in (*moves, RELATED[2])]
        return scene_of_views(editor, read_segments(video, preset, 2)[0], cameras, preset.edit)
    segments = read_segments(video, preset, options.memories + 1)
    return scene_of_segments(editor, segments, options.prompt, preset.edit)


def table1(options: argparse.Namespace) -> Rows:
    """By first block of each third: the mean and deviation of each measure over all later blocks."""
    from model.metrics.stability import stability
    from model.metrics.studies import measure_responses

    editor, preset = load(options.weights)
    scenes = [make_scene(editor, preset, video, options) for video in options.video]
    heard = [one.scores for scene in scenes for one in measure_responses(editor, scene, preset.edit)]
    return {
        f"block {first}": {name: asdict(spread) for name, spread in row.items()}
        for first, row in stability(heard).items()
    }


def fig7(options: argparse.Namespace) -> Rows:
    """By reduction: how near the edit stays to that with all tokens; the mean over the videos."""
    from model.metrics.studies import compare_reductions

    editor, preset = load(options.weights)
    scenes = [make_scene(editor, preset, video, options) for video in options.video]
    found = [compare_reductions(editor, scene, preset.edit) for scene in scenes]
    return {
        name: {measure: float(np.mean([one[name][measure] for one in found])) for measure in found[0][name]}
        for name in found[0]
    }


def fig8(options: argparse.Namespace) -> Rows:
    """By kind of frames: the mean responsiveness in every block."""
    from model.metrics.studies import measure_responses
    from storage.plot import draw_lines

    editor, preset = load(options.weights)
    if not editor.backbone.cameras:
        raise RequestError(f"--weights {options.weights}: Fig. 8 is of novel views; give such a model, as demo-views")
    options.memories = 2
    scenes = [make_scene(editor, preset, video, options) for video in options.video]
    heard = [one for scene in scenes for one in measure_responses(editor, scene, preset.edit)]
    kinds = {"related view": 2, "unrelated view": 1, "user's video": 0}  # the latest view comes first
    means = {
        kind: np.mean([one.scores[:, one.videos == place].mean(axis=1) for one in heard], axis=0).tolist()
        for kind, place in kinds.items()
    }
    lines = {kind: list(enumerate(values, 1)) for kind, values in means.items()}
    draw_lines(options.out / "fig8.png", lines, "Mean responsiveness", "block", "R")
    return {kind: {f"block {block}": value for block, value in line} for kind, line in lines.items()}


def fig9(options: argparse.Namespace) -> Rows:
    """By variant and number of memories: billions of operations, and seconds on this machine."""
    from model.metrics.studies import measure_costs
    from storage.plot import draw_lines

    editor, preset = load(options.weights)
    scene = make_scene(editor, preset, options.video[0], options)
    costs = measure_costs(editor, scene, preset.edit, COUNTS)
    for what in ("gigaflops", "seconds"):
        lines = {name: [(count, cost[what]) for count, cost in row.items()] for name, row in costs.items()}
        draw_lines(options.out / f"fig9_{what}.png", lines, f"Denoising of a segment, {what}", "memories", what)
    return {name: {str(count): cost for count, cost in row.items()} for name, row in costs.items()}


def table2(options: argparse.Namespace) -> Rows:
    """By method, the metrics of three turns of novel views."""
    ways: dict[str, dict[str, Any]] = {
        "ReCam (Ind)": {"recall": "none"},
        "ReCam (AR)": {"recall": "none", "chain": True},
        "Memory-V2V": {},
    }
    for name, way in ways.items():
        _view_all(options, name, THREE, way, lambda request: request)
    return _measured(options, ways, TABLE2)


def table3(options: argparse.Namespace) -> Rows:
    """By method, the metrics of long edits."""
    from flows.edit import edit
    from flows.request import build_request

    ways = {"LucyEdit (Ind)": 0, "LucyEdit (FIFO)": 1, "Memory-V2V": None}
    for name, top_k in ways.items():
        for video in options.video:
            fixed = {"video": video, "instruction": options.prompt, "weights": options.weights}
            choices = {"window": {}, "retrieval": {"top_k": top_k}, "sampling": {}}
            request: EditRequest = build_request({**fixed, "out": _place(options, name) / video.stem}, choices)
            edit(request)
    return _measured(options, ways, TABLE3)


def table4(options: argparse.Namespace) -> Rows:
    """By components: the metrics of five turns of novel views, and the seconds of the last."""
    everything = {"retrieval": {"top_k": 64}, "recall": "recency"}
    ways: dict[str, tuple[dict[str, Any], bool]] = {
        "dynamic tokenization only": (everything, False),
        "+ video retrieval": ({}, False),
        "+ adaptive token merging": (everything, True),
        "+ all": ({}, True),
    }
    seconds: dict[str, float] = {}
    for name, (way, merges) in ways.items():
        seconds[name] = _view_all(options, name, FIVE, way, lambda request, on=merges: _merging(request, on))
    rows = _measured(options, ways, TABLE4)
    return {name: {**row, "seconds": seconds[name]} for name, row in rows.items()}


def _merging(request: "ViewRequest", on: bool) -> "ViewRequest":
    from model.config import MergeConfig

    if on:
        return request
    return request.model_copy(update={"edit": request.edit.model_copy(update={"merging": MergeConfig(mode="off")})})


def _view_all(
    options: argparse.Namespace,
    name: str,
    cameras: Sequence[str],
    way: Mapping[str, Any],
    finish: Callable[["ViewRequest"], "ViewRequest"],
) -> float:
    """Make all turns of all videos by a method; returns the mean seconds of the last turn, 0 where it was there."""
    from flows.novel_views import view
    from flows.request import build_view_request

    last = []
    for video in options.video:
        said = {key: value for key, value in way.items() if key != "retrieval"}
        fixed = {
            "video": video,
            "cameras": cameras,
            "weights": options.weights,
            "out": _place(options, name) / video.stem,
        }
        choices = {"window": {}, "retrieval": way.get("retrieval", {}), "sampling": {}}
        last.append(view(finish(build_view_request({**fixed, **said}, choices))).turns[-1].seconds)
    return float(np.mean(last))


def _place(options: argparse.Namespace, name: str) -> Path:
    """The folder of a method's edits; another model or another choice of words has others."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in f"{Path(options.weights).name} {name}")
    return options.out / options.what / plain.strip("-").lower()


def _measured(options: argparse.Namespace, names: Sequence[str] | Mapping[str, Any], columns: Sequence[str]) -> Rows:
    """The columns of a table for every method, from its finished edits; methods of others are not measured."""
    from flows.evaluation import evaluate
    from model.config import EvaluationRequest
    from model.errors import RunError

    rows: Rows = {}
    for name in names:
        found = evaluate(EvaluationRequest(run=_place(options, name), instruments=options.instruments))
        if found.refused:
            raise RunError(found.refused[0])
        fields = found.fields()
        rows[name] = {column: fields[column] for column in columns}
    for name in OTHERS.get(options.what, ()):
        rows[name] = {column: {"not_measured": f"needs {name}'s own code and weights"} for column in columns}
    return rows


WHAT: Mapping[str, tuple[Callable[[argparse.Namespace], Rows], str]] = {
    "table1": (table1, "demo"),
    "table2": (table2, "demo-views"),
    "table3": (table3, "demo"),
    "table4": (table4, "demo-views"),
    "fig7": (fig7, "demo"),
    "fig8": (fig8, "demo-views"),
    "fig9": (fig9, "demo"),
}
"""What is measured, and the model where none is named."""


def as_table(what: str, rows: Rows) -> str:
    """Markdown: a row a method, with the paper's number in brackets where it has one."""
    columns = list(next(iter(rows.values())))
    paper = PAPER.get(what, {})
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    for name, row in rows.items():
        theirs = paper.get(name, [None] * len(columns))
        cells = [_cell(row[column]) for column in columns]
        lines.append(
            [name, *(cell if one is None else f"{cell} [{one:g}]" for cell, one in zip(cells, theirs, strict=True))]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(found: Any) -> str:
    if isinstance(found, float | int):
        return f"{found:.4g}"
    if "not_measured" in found:
        return f"not measured: {found['not_measured']}"
    if "deviation" in found:
        return f"{found['mean']:.3f} ± {found['deviation']:.3f}"
    if "value" in found:
        return f"{found['value']:.4g}"
    return ", ".join(f"{value:.4g} {name}" for name, value in found.items())


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What is to be measured, of which model, on which videos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--weights", help="a model folder; the default is the small one that is bundled")
    parser.add_argument("--video", type=Path, nargs="+", default=[CLIP], help="videos to edit")
    parser.add_argument("--prompt", default="give the circle a new colour", help="of text edits")
    parser.add_argument("--memories", type=int, default=5, help="of table1, fig7 and fig9")
    parser.add_argument("--instruments", type=Path, help="folder of weights that metrics need")
    parser.add_argument("--out", type=Path, default=Path("out/paper"), help="folder for edits and plots")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    options.weights = options.weights or WHAT[options.what][1]
    if options.memories < 1:
        parser.error("--memories: expected 1 or more")
    return options


def main() -> None:
    prepare_environment()
    options = parse()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        rows = WHAT[options.what][0](options)
    except MemoryV2VError as fault:
        sys.exit(f"error: {fault}")
    print(as_table(options.what, rows), file=sys.stderr)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()

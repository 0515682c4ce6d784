"""Train a recipe in this process, without Prefect and Ray: on a GPU machine that has neither, in so many minutes.

The same clips, the same loop and the same model folder as `memory-v2v train`, which is the way wherever it runs. Clips
are drawn and encoded by all cores; where `--minutes` would not suffice for the recipe's steps it is given fewer, by the
rate of the first ones, so that the rate of learning still falls to its end. The metric is steps a second.

    python benchmarks/gpu_training.py MANIFEST --config FILE --out DIR [--footage DIR] [--minutes 9] [--json]

The larger variant of the demo is `benchmarks/larger/manifest.yaml` with `training.yaml` beside it; on what comes of it,
`benchmarks/consistency.py --here --weights DIR/model --size 128` measures the claim on the same card.
"""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree

import torch

from model.backbones.backbone import Codec
from model.config import DatasetConfig, DrawnSource, Source, TrainingRunConfig
from model.editor import MemoryEditor
from model.errors import MemoryV2VError
from model.training.loop import Worker, train
from model.training.run import build_start, encode_segments, encode_texts, pool_regions, run_training
from model.types import TrainingClip
from reporting import Figures, page, parser, publish, say, table, tidy
from storage.content_id import hash_file
from storage.datasets.encoded import EncodedClips, clip_path, write_clip
from storage.datasets.manifest import all_sentences, read_dataset, read_run_config
from storage.datasets.rendered import Drawing, draw_clip, drawings_of

TRIED, SPARE = 40, 0.9  # steps by which the rate is known; the share of the time left that is planned with
MOST_AT_ONCE = 4  # clips that a process is given


@dataclass(frozen=True)
class Work:
    """What a process needs to draw a clip and to encode it."""

    start: Path
    footage: Path
    length: int


def train_here(dataset: DatasetConfig, config: TrainingRunConfig, out: Path, footage: Path, minutes: float) -> Figures:
    """Make a start and clips, train, and leave `out/model`.

    Raises:
        RunError: footage is not in its folder and could not be downloaded.
    """
    begun, device = time.monotonic(), "cuda" if torch.cuda.is_available() else "cpu"
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        start = Path(config.start) if config.start else _build(dataset, config, out / "start", footage, pool)
        clips = _make_clips(dataset, Work(start, footage, config.preset.window.frames), out / "clips", pool)
    prepared = time.monotonic()
    texts = clips[0].instructions | clips[1].instructions
    rate = _rate(start, clips, texts, config, out / "tried", device)
    left = 60 * minutes - (time.monotonic() - begun)
    config = _shortened(config, int(SPARE * left * rate))
    say(f"{rate:.1f} steps a second: {config.training.steps} steps in the {left:.0f} s left")
    trained = time.monotonic()
    run_training(start, clips, texts, config, out, device, config.threads or 1, Worker())
    return {
        "clips": len(clips[0]),
        "preparing": tidy(prepared - begun),
        "steps": config.training.steps,
        "training": tidy(time.monotonic() - trained),
        "curve": (out / "curve.jsonl").read_text().splitlines()[-1],
    }


def _build(dataset: DatasetConfig, config: TrainingRunConfig, folder: Path, footage: Path, pool: Executor) -> Path:
    """An untrained small model, its codec fitted to the first clips of every source."""
    drawings = [each for source in dataset.training for each in _drawings(source)[: config.codec_clips]]
    clips = pool.map(draw_clip, drawings, [footage] * len(drawings))
    pictures = [frames for clip in clips for frames in (clip.source, clip.versions[0])]
    return build_start(folder, pictures, all_sentences(), config)


def _make_clips(dataset: DatasetConfig, work: Work, folder: Path, pool: Executor) -> tuple[EncodedClips, EncodedClips]:
    """Both lists, drawn and encoded by all cores; what is there is not made again."""
    codec = "".join(hash_file(path) for path in sorted((work.start / "vae").iterdir()))

    def files(source: Source) -> dict[Path, Drawing]:
        return {clip_path(folder, drawing.name(codec)): drawing for drawing in _drawings(source)}

    lists = [[(files(each), each.share) for each in split] for split in (dataset.training, dataset.validation)]
    wanted = {path: drawing for sources in lists for named, _ in sources for path, drawing in named.items()}
    jobs = [(path, drawing, work, codec) for path, drawing in wanted.items() if not path.is_file()]
    for done, _ in enumerate(pool.map(_make_clip, jobs, chunksize=MOST_AT_ONCE), 1):
        if done % 100 == 0 or done == len(jobs):
            say(f"{done} of {len(jobs)} clips")
    training, validation = (EncodedClips([(tuple(named), share) for named, share in sources]) for sources in lists)
    return training, validation


def _drawings(source: Source) -> list[Drawing]:
    if not isinstance(source, DrawnSource):
        raise SystemExit(f"error: {source.folder}: expected sources that are drawn from seeds")
    return list(drawings_of(source))


def _make_clip(job: tuple[Path, Drawing, Work, str]) -> None:
    path, drawing, work, codec = job
    clip, opened = draw_clip(drawing, work.footage), _codec(work.start)
    source, *versions = (encode_segments(opened, frames, work.length) for frames in (clip.source, *clip.versions))
    regions = pool_regions(clip.regions, work.length, source.shape[3])
    encoded = TrainingClip(clip.id, clip.instruction, clip.fixed, source, tuple(versions), regions, clip.cameras)
    write_clip(path, encoded, codec)


@cache
def _codec(start: Path) -> Codec:
    return Codec.load(start)


def _rate(
    start: Path,
    clips: tuple[EncodedClips, EncodedClips],
    texts: set[str],
    config: TrainingRunConfig,
    folder: Path,
    device: str,
) -> float:
    """Steps a second, with what is measured on the way, of a model that is then thrown away."""
    torch.set_num_threads(config.threads or 1)
    tried = config.training.model_copy(update={"steps": TRIED, "validate_every": TRIED, "save_every": TRIED})
    seconds = []
    for part in ("first", "second"):  # the first one warms up
        rmtree(folder / part, ignore_errors=True)  # of a run that was broken off
        editor = MemoryEditor.from_pretrained(start, device=device)
        text = encode_texts(editor.backbone, texts)
        begun = time.monotonic()
        train(editor.backbone.transformer, *clips, text, tried, folder / part)
        seconds.append(time.monotonic() - begun)
    return TRIED / seconds[-1]


def _shortened(config: TrainingRunConfig, steps: int) -> TrainingRunConfig:
    steps = max(1, min(config.training.steps, steps))
    return config.model_copy(update={"training": config.training.model_copy(update={"steps": steps})})


def as_markdown(figures: Figures) -> str:
    """The page."""
    return page("Training in one process", table(["what", "measured"], [list(each) for each in figures.items()]))


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    try:
        dataset, config = read_dataset(options.manifest), read_run_config(options.config)
        figures = train_here(dataset, config, options.out, options.footage, options.minutes)
    except MemoryV2VError as fault:
        raise SystemExit(f"error: {fault}") from None
    publish("gpu_training", figures, as_markdown(figures), options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("manifest", type=Path, help="YAML with the sources of clips")
    options.add_argument("--config", type=Path, required=True, help="YAML with the recipe")
    options.add_argument("--out", type=Path, required=True, help="folder for clips, state and model")
    options.add_argument("--footage", type=Path, default=Path("footage"), help="folder with the licensed pictures")
    options.add_argument("--minutes", type=float, default=9.0, help="for all of it")
    return options.parse_args(arguments)


if __name__ == "__main__":
    main()

"""How fast training samples come from an extended dataset on a local disk, beside reading raw files of the same bytes.

The metrics are samples a second at the demo model's latent size, and, with latents of 4 MB a sample, the loader's rate
in parts of that of `numpy.fromfile`, by turns in one process. Files were just written, so both read from memory what
the disk would give at its own pace: it is the cost of the format that is measured.

    python benchmarks/loader.py [--json] [--write]
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from model.config import MixConfig
from model.training.loader import BatchLoader
from reporting import Figures, page, parser, publish, table
from storage.datasets.extended import KINDS, Sample, open_dataset, pack, write_sample

DEMO = ((16, 2, 8, 8), 6, 40, 400)  # shape of a segment, segments with a source, those behind them, samples
LARGE = ((48, 9, 30, 52), 1, 2, 48)  # 33 frames of Lucy's latents at 480 x 832 are 1.3 MB
BATCH, ROUNDS = 8, 5


def write_dataset(folder: Path, shape: tuple[int, ...], clip: int, rest: int, count: int) -> Path:
    """Samples of noise."""
    random = np.random.default_rng(0)
    said = {"split": "training", "clip_frames": 33, "frames": 233, "segment_frames": 5, "preview": b"", "seed": 0}
    said |= {"model": "", "codec": "", "settings": "", "source_camera": None, "target_camera": None}
    window = {"draws": 1, "kept": True, **dict.fromkeys(KINDS, 0.0)}
    for number in range(count):
        source, edited = (random.random((segments, *shape)).astype(np.float16) for segments in (clip, clip + rest))
        mine = {"id": f"{number}", "group": f"{number}", "instruction": f"edit {number % 9}", "windows": [window]}
        write_sample(folder, f"{number:06d}", Sample(source, edited, {**said, **mine}))
    pack(folder, [f"{number:06d}" for number in range(count)], {"rejected": {}})
    return folder


def rate(work: Callable[[], float]) -> float:
    """What `work` says it did, a second."""
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


def load(loader: BatchLoader, batches: int) -> float:
    """Samples drawn, as batches of float32."""
    for number in range(batches):
        loader.batch(number)
    return float(batches * BATCH)


def read_clips(folder: Path, order: np.ndarray) -> float:
    """Megabytes of latents read through the dataset, and looked at once."""
    clips, size = open_dataset(folder), 0
    for index in order:
        clip = clips[int(index)]
        size += touch(clip.versions[0]) + touch(clip.source)
    return size / 1e6


def read_raw(paths: list[Path], order: np.ndarray) -> float:
    """Megabytes of the same latents, read as files."""
    return sum(touch(np.fromfile(paths[int(index)], np.float16)) for index in order) / 1e6


def touch(latents: np.ndarray) -> int:
    """Every byte is read, as copying it to a device does."""
    latents.copy()
    return latents.nbytes


def measure() -> Figures:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        demo = write_dataset(Path(name) / "demo", *DEMO)
        loader = BatchLoader(open_dataset(demo), BATCH, MixConfig())
        load(loader, 2)
        samples = median(rate(lambda: load(loader, 50)) for _ in range(ROUNDS))
        large = write_dataset(Path(name) / "large", *LARGE)
        paths = []
        for clip in open_dataset(large):
            paths.append(Path(name) / f"{clip.id}.raw")
            np.concatenate([clip.versions[0], clip.source]).tofile(paths[-1])
        size = paths[0].stat().st_size
        orders = [np.random.default_rng(number).permutation(len(paths)) for number in range(ROUNDS)]
        pairs = [(rate(partial(read_clips, large, order)), rate(partial(read_raw, paths, order))) for order in orders]
        clips, raw = (median(each) for each in zip(*pairs, strict=True))
    return {
        "demo_samples_per_second": round(samples, 1),
        "large_sample_megabytes": round(size / 1e6, 2),
        "dataset_megabytes_per_second": round(clips, 1),
        "raw_megabytes_per_second": round(raw, 1),
        "dataset_to_raw": round(median(one / other for one, other in pairs), 3),
    }


def as_markdown(figures: Figures) -> str:
    """The page."""
    return page("Loader", "One thread.", table(("figure", "value"), list(figures.items())))


def main() -> None:
    options = parser(__doc__).parse_args()
    figures = measure()
    publish("loader", figures, as_markdown(figures), options)


if __name__ == "__main__":
    main()

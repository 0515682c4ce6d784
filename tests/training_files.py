"""The smallest training run there is: a manifest, a config, and the clips of both lists."""

from pathlib import Path

MANIFEST = """
training:
  - {kind: synthetic, clips: 6, world: &tiny {size: 32, segments: 6}}
validation:
  - {kind: synthetic, clips: 3, first_seed: 100000, world: *tiny}
"""
CONFIG = """
small: {width: 32, heads: 2, depth: 2, feed_forward: 64, channels: 8, text_width: 16}
codec_clips: 4
preset: {name: tiny, window: {frames: 9, overlap: 2, height: 32, width: 32}}
training:
  steps: 40
  batch: 4
  shift: 3.0
  region_weight: 4.0
  mix: {reverse_memory: true}
  optim: {trained: all, rate: 1.0e-2, memory_rate: 1.0e-2, warmup: 2, ema: 0.9}
  validate_every: 10
  validation_batches: 2
  save_every: 10
threads: 1
device: cpu
"""


def write_files(folder: Path, *changes: tuple[str, str]) -> tuple[Path, Path]:
    """The manifest and the config, with some of the latter's text changed."""
    manifest, config = folder / "manifest.yaml", folder / "training.yaml"
    text = CONFIG
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    manifest.write_text(MANIFEST)
    config.write_text(text)
    return manifest, config

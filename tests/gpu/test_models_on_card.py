"""Whole models on a card and on the processor: the same results, but for rounding, and nothing left on the other one.

Without a card these tests are skipped; models are small, with random weights.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.backbones.dinov2 import Dinov2Descriptor
from model.backbones.framepack import FramePack
from model.backbones.placement import bytes_in_main_memory, offload
from model.backbones.tiny import build_tiny_lucy_edit, build_tiny_recam
from model.backbones.tiny_framepack import build_tiny_framepack
from model.camera.presets import preset
from model.config import (
    SPEEDS,
    EditConfig,
    ExtensionConfig,
    MergeConfig,
    MixConfig,
    OptimConfig,
    SamplingConfig,
    TrainingConfig,
)
from model.editor import MemoryEditor
from model.training.loop import train
from model.training.objective import TextStates
from model.types import Memory, ViewMemory
from tests.model.backbones.test_dinov2 import make_dinov2
from tests.model.toy import CHANNELS, toy_transformer
from tests.model.training.clips import noise_clips, texts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
CUDA = torch.device("cuda")
CLIP = np.random.default_rng(0).random((9, 64, 96, 3), np.float32)
ROUNDING = 0.02  # of a norm: convolutions on a card are in TF32


@pytest.fixture(scope="module")
def lucy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_lucy_edit(tmp_path_factory.mktemp("lucy"))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def second_edit(editor: MemoryEditor, attention: str) -> np.ndarray:
    """Of a segment whose predecessor is its memory, and its beginning, some of it merged."""
    sampling = SamplingConfig(steps=3, guidance=3.0, first_drafts=2)
    first = editor.edit(CLIP, "a red hat", seed=1, config=EditConfig(sampling=sampling))
    config = EditConfig(
        sampling=sampling, attention=attention, merging=MergeConfig(fraction=0.5, blocks=(2,)), clean_latents=1
    )
    memories = [Memory("first", first.edited, first.source, is_previous=True)]
    return editor.edit(CLIP[::-1].copy(), "a red hat", memories, 2, config, predecessor=first.edited).edited


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_an_edit(lucy: Path, attention: str) -> None:
    here, there = (second_edit(MemoryEditor.from_pretrained(lucy, device=each), attention) for each in ("cpu", "cuda"))
    assert distance(there, here) < ROUNDING


@pytest.mark.parametrize("attention", ["joint", "cached"])
@pytest.mark.parametrize("visiting", [("text_encoder",), ("text_encoder", "transformer")], ids=["text", "blocks"])
def test_an_edit_on_a_small_card(
    lucy: Path, attention: str, visiting: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts in main memory, from where they visit the card; the size of the card is a stand-in."""
    expected = second_edit(MemoryEditor.from_pretrained(lucy, device="cuda"), attention)
    monkeypatch.setattr("model.backbones.placement.choose_visitors", lambda coming, free: visiting)
    editor = MemoryEditor.from_pretrained(lucy, device="cuda")
    parts = editor.backbone.pipeline.components
    assert all(bytes_in_main_memory(parts[name]) > 0 for name in visiting)
    assert bytes_in_main_memory(parts["vae"]) == 0
    assert distance(second_edit(editor, attention), expected) < 1e-3


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_an_edit_after_the_card_was_full(lucy: Path, attention: str) -> None:
    """What an Editor does that has run out of the card's memory."""
    editor = MemoryEditor.from_pretrained(lucy, device="cuda")
    expected = second_edit(editor, attention)
    offload(editor.backbone.pipeline, CUDA)
    assert distance(second_edit(editor, attention), expected) < 1e-3


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_an_edit_with_compiled_blocks(lucy: Path, attention: str) -> None:
    plain, exact = (
        MemoryEditor.from_pretrained(lucy, device="cuda", speed=SPEEDS[name]) for name in ("plain", "exact")
    )
    assert distance(second_edit(exact, attention), second_edit(plain, attention)) < ROUNDING


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_a_new_view(tmp_path: Path, attention: str) -> None:
    folder, path = build_tiny_recam(tmp_path), preset("pan-left", len(CLIP))
    config = EditConfig(sampling=SamplingConfig(steps=3, guidance=3.0), attention=attention, cache_user_video=True)
    views = []
    for device in ("cpu", "cuda"):
        editor = MemoryEditor.from_pretrained(folder, device=device)
        first = editor.edit(CLIP, "", seed=1, config=config, trajectory=path)
        memories = [ViewMemory("first", first.edited, path)]
        views.append(editor.edit(CLIP, "", memories, 2, config, trajectory=preset("pan-right", len(CLIP))).edited)
    assert distance(views[1], views[0]) < ROUNDING


def test_a_descriptor(tmp_path: Path) -> None:
    folder, frames = str(make_dinov2(tmp_path / "dino")), (255 * CLIP).astype(np.uint8)
    here, there = (Dinov2Descriptor(folder, device).describe(frames) for device in ("cpu", "cuda"))
    assert distance(there, here) < ROUNDING


def test_a_continued_clip(tmp_path: Path) -> None:
    folder, frames = build_tiny_framepack(tmp_path / "model"), (255 * CLIP).astype(np.uint8)
    config = ExtensionConfig(window=3, steps=2, guidance=6.0)
    made = [
        FramePack.from_pretrained(folder, device=device).extend(frames, "snow", 12, 5, config).frames.astype(np.float32)
        for device in ("cpu", "cuda")
    ]
    assert np.abs(made[1] - made[0]).mean() < 2  # of 255


def test_a_training_run_that_goes_on(tmp_path: Path) -> None:
    """The same curve as on the processor, and the same after it was stopped half way."""
    mix = MixConfig(memories=(0.3, 0.4, 0.3), merge_blocks=(2,))
    optim = OptimConfig(trained="all", rate=3e-3, memory_rate=3e-3, warmup=2)
    config = TrainingConfig(
        steps=8, batch=3, shift=1.0, mix=mix, optim=optim, validate_every=4, validation_batches=2, save_every=4
    )

    def losses(device: str, steps: int, folder: Path) -> list[float]:
        states = texts("add")
        moved = TextStates(lambda each: states.of([each]).to(device))
        model = toy_transformer(in_channels=2 * CHANNELS).to(device)
        clips = noise_clips(6), noise_clips(3, seed=1)
        curve = train(model, *clips, moved, config.model_copy(update={"steps": steps}), folder)
        return [point.validation for point in curve]

    here, there = losses("cpu", 8, tmp_path / "cpu"), losses("cuda", 8, tmp_path / "cuda")
    assert there == pytest.approx(here, rel=ROUNDING)
    (tmp_path / "cuda" / "step-00000008.safetensors").unlink()
    assert losses("cuda", 8, tmp_path / "cuda") == pytest.approx(there, rel=1e-3)

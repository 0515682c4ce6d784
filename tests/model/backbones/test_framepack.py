"""A clip continued: the pipeline's own bits from one image on, exact lengths, and windows that drift."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaTokenizer

import model.backbones.framepack as framepack_module
from model.backbones.framepack import FramePack
from model.backbones.tiny_framepack import build_tiny_framepack
from model.config import ExtensionConfig
from model.errors import WeightsError

QUICK = ExtensionConfig(window=3, steps=1, guidance=6.0)
PROMPT = "make it a snowy day"


@pytest.fixture(scope="module")
def framepack(tmp_path_factory: pytest.TempPathFactory) -> FramePack:
    return FramePack.from_pretrained(build_tiny_framepack(tmp_path_factory.mktemp("framepack") / "model"))


def noise(frames: int, seed: int = 0, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def pipeline_frames(framepack: FramePack, image: np.ndarray, **options: Any) -> np.ndarray:
    """What diffusers' own pipeline makes of an image: two windows of three latents."""
    video = framepack.pipeline(
        image=Image.fromarray(image),
        prompt=PROMPT,
        height=32,
        width=48,
        num_frames=17,
        latent_window_size=3,
        num_inference_steps=2,
        guidance_scale=6.0,
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
        **options,
    ).frames[0]
    return (video * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_from_an_image_it_is_the_pipeline_bit_for_bit(framepack: FramePack) -> None:
    image = noise(1)
    theirs = pipeline_frames(framepack, image[0], sampling_type="vanilla")
    ours = framepack.extend(image, PROMPT, 24, 5, QUICK.model_copy(update={"steps": 2}))
    assert np.array_equal(ours.frames, theirs[1:])


def test_towards_an_end_it_is_the_pipeline_bit_for_bit(framepack: FramePack) -> None:
    image, end = noise(1), noise(1, seed=1)
    options = {"sampling_type": "inverted_anti_drifting", "last_image": Image.fromarray(end[0])}
    theirs = pipeline_frames(framepack, image[0], **options)
    ours = framepack.extend(image, PROMPT, 24, 5, QUICK.model_copy(update={"steps": 2}), end=end)
    assert np.array_equal(ours.frames, theirs[1:])


def test_more_than_four_windows_towards_an_end(framepack: FramePack) -> None:
    ours = framepack.extend(noise(5), PROMPT, 5 * 12, 0, QUICK, end=noise(1, seed=1))
    assert len(ours.frames) == 60
    assert len(ours.windows) == 5


@pytest.mark.parametrize(("clip", "frames", "window", "windows"), [(33, 200, 9, 6), (33, 36, 9, 1), (5, 50, 3, 5)])
def test_exactly_as_many_frames_as_asked_for(
    framepack: FramePack, clip: int, frames: int, window: int, windows: int
) -> None:
    made = framepack.extend(
        noise(clip, height=16, width=16), PROMPT, frames, 0, QUICK.model_copy(update={"window": window})
    )
    assert made.frames.shape == (frames, 16, 16, 3)
    assert [record.kept for record in made.windows] == [True] * windows


def test_all_of_the_clip_is_seen(framepack: FramePack) -> None:
    """A clip of the same first and last frame, but another middle, is continued otherwise."""
    clip = noise(17)
    other = clip.copy()
    other[4:12] = 255 - other[4:12]
    one, two = (framepack.extend(each, PROMPT, 12, 0, QUICK).frames for each in (clip, other))
    assert np.array_equal(one, framepack.extend(clip, PROMPT, 12, 0, QUICK).frames)
    assert not np.array_equal(one, two)


class Judge:
    """Says of each window drawn what it was told to say."""

    def __init__(self, *drifts: float) -> None:
        self._drifts = list(drifts)
        self.seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def __call__(self, clip: np.ndarray, before: np.ndarray, new: np.ndarray) -> Mapping[str, float]:
        self.seen.append((clip, before, new))
        return {"colour": self._drifts.pop(0), "motion": 0.0}


def test_a_window_that_drifts_is_drawn_again(framepack: FramePack) -> None:
    judge = Judge(0.5, 3.0, 1.5, 0.9)
    made = framepack.extend(noise(5), PROMPT, 24, 0, QUICK, judge)
    assert [(record.draws, record.kept) for record in made.windows] == [(1, True), (3, True)]
    assert len(made.frames) == 24
    drawn = [new for _, _, new in judge.seen[1:]]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[1], drawn[2])
    assert all(np.array_equal(before, judge.seen[1][1]) for _, before, _ in judge.seen[1:])
    assert np.array_equal(made.frames[-12:], drawn[2])


def test_a_window_that_keeps_drifting_ends_the_clip(framepack: FramePack) -> None:
    made = framepack.extend(noise(5), PROMPT, 36, 0, QUICK, Judge(0.5, 2.0, 2.0, 2.0))
    assert [(record.draws, record.kept) for record in made.windows] == [(1, True), (3, False)]
    assert len(made.frames) == 12
    gone = framepack.extend(noise(5), PROMPT, 24, 0, QUICK, Judge(2.0, 2.0, 2.0))
    assert len(gone.frames) == 0


def test_a_judge_sees_what_the_sample_will_show(framepack: FramePack) -> None:
    judge = Judge(0.0, 0.0)
    clip = noise(5)
    made = framepack.extend(clip, PROMPT, 24, 0, QUICK, judge)
    (_, first, one), (_, second, two) = judge.seen
    assert np.array_equal(first, clip)
    assert np.array_equal(second[:5], clip)
    assert len(second) == 17
    assert np.array_equal(made.frames[-12:], two)
    assert one.shape == two.shape == (12, 32, 48, 3)


def test_another_model_is_refused(tmp_path: Path, framepack: FramePack) -> None:
    with pytest.raises(WeightsError, match=r"model_index\.json"):
        FramePack.from_pretrained(tmp_path)
    build_tiny_framepack(tmp_path / "model")
    next((tmp_path / "model/vae").glob("*.safetensors")).write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="does not load"):
        FramePack.from_pretrained(tmp_path / "model")


def test_on_a_card_pictures_have_more_digits_than_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is a stand-in: how the parts are read for it is what is tested."""
    folder = build_tiny_framepack(tmp_path / "model")
    monkeypatch.setattr(framepack_module, "require_usable", lambda card: None)
    monkeypatch.setattr(framepack_module, "settle", lambda pipeline, card: None)
    for device, codec in (("cuda", torch.float16), ("cpu", torch.bfloat16)):
        parts = FramePack.from_pretrained(folder, "bfloat16", device).pipeline
        assert parts.vae.dtype is codec
        assert parts.transformer.dtype is parts.text_encoder.dtype is torch.bfloat16


@pytest.mark.parametrize("named", ["LlamaTokenizer", "LlamaTokenizerFast"])
def test_words_are_cut_as_the_tokenisers_file_says(named: str, tmp_path: Path, framepack: FramePack) -> None:
    """Under the names that published folders give it, too; the class of that name would cut them otherwise."""
    folder = build_tiny_framepack(tmp_path / "model")
    for path, field, value in (
        (folder / "model_index.json", "tokenizer", ["transformers", named]),
        (folder / "tokenizer" / "tokenizer_config.json", "tokenizer_class", named),
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    named_so = FramePack.from_pretrained(folder).pipeline.tokenizer(PROMPT).input_ids
    assert named_so == framepack.pipeline.tokenizer(PROMPT).input_ids
    assert named_so != LlamaTokenizer.from_pretrained(folder / "tokenizer")(PROMPT).input_ids

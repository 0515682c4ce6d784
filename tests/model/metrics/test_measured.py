"""The instruments read what they should, on the real classes at toy size."""

import numpy as np
import pytest
import torch

from model.backbones.tiny import WINDOW, build_tiny_lucy_edit
from model.config import EditConfig, SamplingConfig
from model.metrics.measured import MeasuredEditor, count_work
from model.types import Memory

ONE_STEP = EditConfig(sampling=SamplingConfig(steps=1, guidance=1.0))


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> MeasuredEditor:
    return MeasuredEditor.from_pretrained(build_tiny_lucy_edit(tmp_path_factory.mktemp("model") / "tiny"))


def frames() -> np.ndarray:
    return np.random.default_rng(0).random((5, WINDOW.height, WINDOW.width, 3), np.float32)


def test_attention_on_the_cpu_is_counted() -> None:
    query, key = torch.randn(2, 3, 7, 4), torch.randn(2, 3, 11, 4)
    with torch.no_grad(), count_work() as counter:
        torch.nn.functional.scaled_dot_product_attention(query, key, key)
    assert counter.get_total_flops() == 2 * (2 * 3) * 2 * (7 * 11 * 4)


def test_memories_and_steps_are_work(editor: MeasuredEditor) -> None:
    source = frames()
    first = editor.edit(source, "", (), 0, ONE_STEP)
    memories = [Memory(name, first.edited, first.source) for name in ("a", "b")]
    two_steps = EditConfig(sampling=SamplingConfig(steps=2, guidance=1.0))
    counts = [editor.flops(source, memories[:number], ONE_STEP) for number in (0, 1, 2)]
    assert counts == sorted(set(counts))
    assert counts == [editor.flops(source, memories[:number], ONE_STEP) for number in (0, 1, 2)]
    assert counts[0] < editor.flops(source, (), two_steps) < 2 * counts[0]


@pytest.mark.parametrize("negative", ["", "blurred"])
def test_both_branches_of_guidance_are_work(negative: str, editor: MeasuredEditor) -> None:
    source = frames()
    guided = EditConfig(sampling=SamplingConfig(steps=2, guidance=3.0, negative=negative))
    one, two = (
        editor.flops(source, (), EditConfig(sampling=SamplingConfig(steps=steps, guidance=1))) for steps in (1, 2)
    )
    assert editor.flops(source, (), guided) - two > 1.5 * (two - one)


def test_the_codec_gives_a_picture_of_the_same_shape(editor: MeasuredEditor) -> None:
    source = frames()
    kept = editor.edit(source, "", (), 0, ONE_STEP).source
    picture = editor.reconstruct(kept)
    assert picture.shape == source.shape
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert (picture == editor.reconstruct(kept)).all()

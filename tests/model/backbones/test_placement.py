"""Where a model lies: by the room on a card, with the same results; and a card that cannot hold it is told so."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import model.backbones.placement as placement
from model.backbones.framepack import FramePack
from model.backbones.placement import GB, bytes_in_main_memory, choose_visitors, offload_blocks, place
from model.backbones.tiny import build_tiny_lucy_edit
from model.backbones.tiny_framepack import build_tiny_framepack
from model.config import EditConfig, ExtensionConfig, MergeConfig, SamplingConfig
from model.editor import MemoryEditor
from model.errors import WeightsError
from model.memory.conditioning import Conditioning
from model.types import Memory
from tests.model.toy import FRAMES, memories, predict, target, toy_transformer

CPU = torch.device("cpu")
JOINT = Conditioning(memories(), MergeConfig(fraction=0.5))
LUCY = {"transformer": 10.0, "vae": 2.8, "text_encoder": 11.4}
"""GB of the 5B model in bfloat16, its VAE in float32."""
LUCY_INT8 = LUCY | {"transformer": 0.1}  # the rest lies on the card already
DEMO = {"transformer": 0.02, "vae": 0.001, "text_encoder": 0.001}
TEXT, BOTH = ("text_encoder",), ("text_encoder", "transformer")


@pytest.mark.parametrize(
    ("model", "free", "visiting"),
    [
        (LUCY, 80, ()),
        (LUCY, 40, ()),
        (LUCY, 32, TEXT),
        (LUCY, 24, TEXT),
        (LUCY, 16.5, BOTH),
        (LUCY_INT8, 16.5 - 5, TEXT),
        (LUCY_INT8, 12 - 5, BOTH[:1]),
        (DEMO, 4, ()),
    ],
)
def test_what_a_card_has_no_room_for_visits_it(model: dict[str, float], free: float, visiting: tuple[str, ...]) -> None:
    assert choose_visitors({name: int(size * GB) for name, size in model.items()}, int(free * GB)) == visiting


@pytest.mark.parametrize("visiting", [(), TEXT, BOTH], ids=["all-there", "text-visits", "text-and-blocks-visit"])
@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_a_model_that_visits_gives_the_very_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visiting: tuple[str, ...], attention: str
) -> None:
    """The card and its size are stand-ins; that nothing is left behind on a real one is tested in tests/gpu."""
    folder = build_tiny_lucy_edit(tmp_path)
    whole = MemoryEditor.from_pretrained(folder)
    parts = whole.backbone.pipeline.components
    sizes = {name: bytes_in_main_memory(parts[name]) for name in LUCY}
    room = {(): sum(sizes.values()), TEXT: sizes["vae"] + sizes["transformer"], BOTH: sizes["vae"]}[visiting]
    monkeypatch.setattr(placement, "free_bytes", lambda device: room)
    for name in ("ROOM", "LEAST_ROOM", "WORTHWHILE"):
        monkeypatch.setattr(placement, name, 0)
    settled = MemoryEditor.from_pretrained(folder)
    assert {name for name in LUCY if visits(settled.backbone.pipeline.components[name])} == set(visiting)
    assert not any(visits(part) for name, part in parts.items() if name in LUCY)
    assert_array_equal(second_edit(settled, attention), second_edit(whole, attention))


def test_framepack_visits_a_small_card_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_tiny_framepack(tmp_path)
    whole = FramePack.from_pretrained(folder)
    monkeypatch.setattr(placement, "choose_visitors", lambda coming, free: BOTH)
    settled = FramePack.from_pretrained(folder)
    assert all(visits(settled.pipeline.components[name]) for name in BOTH)
    assert not any(visits(whole.pipeline.components[name]) for name in BOTH)
    clip, config = np.zeros((5, 64, 96, 3), np.uint8), ExtensionConfig(window=3, steps=2, guidance=6.0)
    made = [each.extend(clip, "snow", 12, 5, config).frames for each in (settled, whole)]
    assert_array_equal(*made)


def visits(part: torch.nn.Module) -> bool:
    return any(hasattr(module, "_diffusers_hook") for module in part.modules())


def second_edit(editor: MemoryEditor, attention: str) -> np.ndarray:
    """Of a segment whose predecessor is its memory, some of it merged."""
    config = EditConfig(
        sampling=SamplingConfig(steps=2, guidance=3.0),
        attention=attention,
        merging=MergeConfig(fraction=0.5, blocks=(2,)),
    )
    clip = np.random.default_rng(0).random((9, 64, 96, 3), np.float32)
    first = editor.edit(clip, "a red hat", seed=1, config=config)
    remembered = [Memory("first", first.edited, first.source, is_previous=True)]
    return editor.edit(clip[::-1].copy(), "a blue hat", remembered, 2, config).edited


@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
@torch.no_grad()
def test_offloaded_blocks_give_the_very_results(cached: bool) -> None:
    model, given = toy_transformer(), target()
    text = torch.randn(1, 4, model.config["text_dim"])
    asked = Conditioning(memories(), cached=True, memory_text=text) if cached else JOINT

    def result() -> torch.Tensor:
        known = Conditioning(cached=True, cache=model.remember(asked)) if cached else asked
        return predict(model, given, model.prepare(given[2], known, FRAMES))

    expected = result()
    offload_blocks(model, CPU)
    assert torch.equal(result(), expected)


@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
@torch.no_grad()
def test_every_weight_is_used_inside_the_forward_that_brings_it_in(cached: bool) -> None:
    """Offloading hangs on the forward of each block, and for all that is in no block on the model's own."""
    model, given = toy_transformer(), target()
    outside, entered = [], set()
    for owner in (model, *model.blocks):
        owner.register_forward_pre_hook(lambda module, _: entered.add(module))
        owner.register_forward_hook(lambda module, *_: entered.discard(module))
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is None or module in (model, *model.blocks):
            continue
        owner = model.get_submodule(".".join(name.split(".")[:2])) if name.startswith("blocks.") else model
        module.register_forward_pre_hook(
            lambda _, __, name=name, owner=owner: outside.append(name) if owner not in entered else None
        )
    text = torch.randn(1, 4, model.config["text_dim"])
    known = JOINT
    if cached:
        asked = Conditioning(memories(), JOINT.merging, cached=True, memory_text=text)
        plan = model.plan_merges(*given, asked)
        known = Conditioning(cached=True, cache=model.remember(asked, plan))
    predict(model, given, model.prepare(given[2], known, FRAMES))
    assert outside == []


def test_a_model_that_does_not_fit_its_card_is_told_from_a_card_that_does_not_work() -> None:
    class Full:
        def to(self, device: torch.device) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    with pytest.raises(WeightsError, match=r"does not fit this card \(CUDA out of memory\. Tried .* 2 GiB\.\); end"):
        place(Full(), torch.device("cuda"))

"""What is done to a loaded model: its results stay, and what a machine lacks is told in one sentence."""

import copy
from dataclasses import replace
from importlib.util import find_spec
from shutil import which

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName
from pydantic import ValidationError

import model.backbones.acceleration as acceleration
from model.backbones.acceleration import accelerate, fastest_attention
from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.config import SPEEDS, MergeConfig, SpeedConfig
from model.errors import RequestError
from shapes import in_precision
from tests.model.toy import memories, predict, target, toy_transformer

CPU = torch.device("cpu")
JOINT = Conditioning(memories(), MergeConfig(fraction=0.5))


def back_ends(model: MemoryWanTransformer) -> set[AttentionBackendName | None]:
    return {block.attn1.processor._attention_backend for block in model.blocks}


def test_as_it_is_nothing_is_done() -> None:
    model = toy_transformer()
    before = [id(module) for module in model.modules()]
    accelerate(model, SPEEDS["plain"], CPU)
    assert [id(module) for module in model.modules()] == before
    assert back_ends(model) == {None}


@torch.no_grad()
def test_another_back_end_computes_the_same() -> None:
    model, given = toy_transformer(), target()
    expected = predict(model, given, JOINT)
    accelerate(model, SpeedConfig(attention="_native_math"), CPU)
    assert back_ends(model) == {AttentionBackendName._NATIVE_MATH}
    torch.testing.assert_close(predict(model, given, JOINT), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_another_back_end_is_this_models_alone() -> None:
    """The very bits of another model stay: half a dozen digits of a training's curve once depended on it."""
    other, given = toy_transformer(), target()
    expected = predict(other, given, JOINT)
    accelerate(toy_transformer(), SpeedConfig(attention="_native_math"), CPU)
    assert torch.equal(predict(other, given, JOINT), expected)


@pytest.mark.parametrize("name", ["sage", "no_such_thing"])
def test_a_back_end_that_is_not_here_is_told(name: str) -> None:
    with pytest.raises(RequestError, match=f"attention '{name}': does not work here: .*; give auto"):
        accelerate(toy_transformer(), SpeedConfig(attention=name), CPU)


@pytest.mark.parametrize("name", ["flash_hub", "_flash_3_hub", "sage_hub", "../x", "Flash"])
def test_a_back_end_that_downloads_code_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="attention"):
        SpeedConfig(attention=name)


def test_a_processor_has_one_back_end() -> None:
    assert fastest_attention(toy_transformer(), CPU) == "native"


def test_the_fastest_back_end_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock and the card are stand-ins: the choice among what they say is what is tested."""
    seconds = {"native": 3.0, "_native_cudnn": 1.0, "_native_flash": 2.0}
    monkeypatch.setattr(acceleration, "_seconds_of", lambda name, states: seconds.get(name))
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: torch.zeros(1))
    assert fastest_attention(toy_transformer(), torch.device("cuda")) == "_native_cudnn"


@pytest.mark.parametrize(("seconds", "taken"), [(0.96, "native"), (0.94, "_native_cudnn")])
def test_another_back_end_is_taken_only_if_it_is_clearly_faster(
    seconds: float, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is a matter of the clock's mood would be another back end, and other bits, at the next load."""
    times = {"native": 1.0, "_native_cudnn": seconds}
    monkeypatch.setattr(acceleration, "_seconds_of", lambda name, states: times.get(name))
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: torch.zeros(1))
    assert fastest_attention(toy_transformer(), torch.device("cuda")) == taken


@pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is installed")
def test_a_missing_torchao_is_told() -> None:
    with pytest.raises(RequestError, match=r"torchao is not installed; pip install 'memory-v2v\[quantize\]'"):
        accelerate(toy_transformer(), SpeedConfig(quantize="int8"), CPU)


@pytest.mark.skipif(find_spec("torchao") is None, reason="needs torchao, an extra")
@torch.no_grad()
def test_eight_bits_change_little() -> None:
    model, given = toy_transformer(), target()
    expected = predict(model, given, JOINT)
    accelerate(model, SpeedConfig(quantize="int8"), CPU)
    error = (predict(model, given, JOINT) - expected).norm() / expected.norm()
    assert 0 < error < 0.05


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(RequestError, match=r"nothing can be compiled here; install a C\+\+ compiler"):
        accelerate(toy_transformer(), SpeedConfig(compile=True), CPU)


@pytest.mark.slow  # in float32 tests/model/backbones/test_transformer.py compiles blocks, too
@pytest.mark.skipif(which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("default")  # torch's compiler warns of its own insides
@torch.no_grad()
def test_compiled_blocks_differ_by_rounding_alone() -> None:
    """In float32 by millionths; in bfloat16 by as much as both differ from float32, and no more."""
    exact, given, asked = toy_transformer(), target(), Conditioning(memories())
    truth = predict(exact, given, asked)
    half = in_precision(copy.deepcopy(exact), torch.bfloat16)
    videos = tuple(replace(video, latents=video.latents.bfloat16()) for video in asked.videos)
    rounded = (given[0].bfloat16(), given[1], given[2].bfloat16()), Conditioning(videos)
    plain = distance(predict(half, *rounded), truth)
    for model in (exact, half):
        accelerate(model, SpeedConfig(compile=True), CPU)
    assert distance(predict(exact, given, asked), truth) < 1e-5
    assert distance(predict(half, *rounded), truth) < 1.5 * plain
    assert 1e-4 < plain < 0.05


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """In parts of the other's norm."""
    return float((one.float() - other).norm() / other.norm())

"""The transformer with memory: the base without it, and with it trainable in every part."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from peft import LoraConfig
from torch import Tensor
from torch.testing import assert_close

from model.backbones.acceleration import GRAPHS
from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.config import MergeConfig
from model.memory.sequence import ConditionVideo
from tests.model.toy import CHANNELS, FRAMES, OFF, ROWS, TEXT, memories, predict, target, toy_transformer

HALF = MergeConfig(fraction=0.5)
EXACT: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}


def fixed_text() -> Tensor:
    return torch.randn(1, 4, TEXT, generator=torch.Generator().manual_seed(9))


def everything(batch: int = 2, cached: bool = False, cameras: bool = False, **how: Any) -> Conditioning:
    """A live video, memories under all tokenisers, one of them absent from a sample, and merging."""
    poses = {"cameras": torch.randn(batch, FRAMES, 12)} if cameras else {}
    live = replace(memories((2,), batch, seed=5, **poses)[0], start=1, live=True, remembered=False)
    some = memories((8,), batch, seed=6, present=torch.arange(batch) > 0, **poses)
    text = {"cached": True, "memory_text": fixed_text()} if cached else {}
    target_cameras = torch.randn(batch, FRAMES, 12) if cameras else None
    videos = (live, *memories((2, 4, 8), batch, **poses), *some)
    return Conditioning(videos, HALF, target_cameras=target_cameras, **{**text, **how})


def base_of(model: MemoryWanTransformer) -> WanTransformer3DModel:
    config = {name: value for name, value in model.config.items() if not name.startswith("_") and name != "cameras"}
    base = WanTransformer3DModel(**config).eval()
    base.load_state_dict(model.state_dict(), strict=False)
    return base


@pytest.mark.parametrize("by_token", [False, True], ids=["timestep", "timestep-by-token"])
@torch.no_grad()
def test_without_conditioning_it_is_the_base_bit_for_bit(by_token: bool) -> None:
    model = toy_transformer()
    latents, timestep, text = target(batch=2)
    if by_token:
        timestep = torch.rand(2, FRAMES * 4 * 6) * 1000
    assert torch.equal(model(latents, timestep, text).sample, base_of(model)(latents, timestep, text).sample)
    (as_tuple,) = model(latents, timestep, text, return_dict=False)
    assert torch.equal(as_tuple, model(latents, timestep, text).sample)


@pytest.mark.parametrize("by_token", [False, True], ids=["timestep", "timestep-by-token"])
@torch.no_grad()
def test_with_nothing_to_be_conditioned_on_it_is_the_base(by_token: bool) -> None:
    model = toy_transformer()
    latents, timestep, text = target(batch=2)
    if by_token:
        timestep = (torch.rand(2, FRAMES) * 1000).repeat_interleave(4 * 6, dim=1)
    expected = base_of(model)(latents, timestep, text).sample
    assert torch.equal(predict(model, (latents, timestep, text), Conditioning()), expected)


@torch.no_grad()
def test_one_time_for_all_tokens_is_the_base_with_a_time_by_token() -> None:
    """The same bits, though it is embedded once and not as often as there are tokens."""
    model = toy_transformer()
    latents, timestep, text = target(batch=2)
    once = timestep[:, None]
    expected = base_of(model)(latents, once.expand(-1, FRAMES * 4 * 6), text).sample
    assert torch.equal(predict(model, (latents, once, text), Conditioning()), expected)


@pytest.mark.parametrize("lora", [False, True], ids=["base", "lora"])
@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
@torch.no_grad()
def test_what_is_prepared_once_gives_the_very_bits_at_every_step(cached: bool, lora: bool) -> None:
    """And is all that is looked at: later steps may be given another text."""
    model, conditioning = toy_transformer(cameras=True), everything(cached=cached, cameras=True)
    if lora:
        model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    latents, _, text = target(2)
    prepared = model.prepare(text, conditioning, FRAMES)
    for time in (900.0, 100.0):
        timestep = torch.full((2,), time)
        expected = predict(model, (latents, timestep, text), conditioning)
        assert torch.equal(predict(model, (latents, timestep, torch.zeros_like(text)), prepared), expected)


@torch.no_grad()
def test_memories_count_and_their_order_does_not() -> None:
    """Memories share one temporal range: under one tokeniser, exchanging them exchanges nothing."""
    model, given = toy_transformer(), target()
    one, two = memories((4, 4))
    both = predict(model, given, Conditioning((one, two)))
    assert_close(predict(model, given, Conditioning((two, one))), both, **EXACT)
    assert (predict(model, given, Conditioning((one,))) - both).abs().max() > 1e-3
    assert (predict(model, given, Conditioning((replace(one, start=1), two))) - both).abs().max() > 1e-4
    assert (predict(model, given, Conditioning((replace(one, reverse=True), two))) - both).abs().max() > 1e-4


@torch.no_grad()
def test_a_short_memory_has_no_position_of_the_target() -> None:
    """Shots may be short: its range begins where a long memory's would, so its frames are those of a long one."""
    model, given = toy_transformer(), target()
    (whole,) = memories((4,))
    short = replace(whole, latents=whole.latents[:, :, :1])
    parts = [model.tokenize((video,), FRAMES)[0] for video in (whole, short)]
    assert torch.equal(parts[1].rotary.cos, parts[0].rotary.cos[:, :1])
    output = predict(model, given, Conditioning((short, replace(whole, patch=8)), HALF))
    assert output.isfinite().all()


@torch.no_grad()
def test_a_long_memory_moves_the_ranges_of_all() -> None:
    model, given = toy_transformer(), target()
    (whole,) = memories((4,))
    longer = replace(whole, latents=whole.latents.repeat(1, 1, 2, 1, 1))
    conditioning = Conditioning((longer, whole), MergeConfig(fraction=0.9))
    plan = model(*given, attention_kwargs={"conditioning": conditioning}).plan
    assert plan.range_frames == 2 * FRAMES
    shown = plan.by_video()
    assert all(frame < 2 * FRAMES for frames in shown[0].values() for frame in frames)
    assert all(frame < FRAMES for frames in shown.get(1, {}).values() for frame in frames)
    once = {"cached": True, "memory_text": fixed_text(), "range_frames": 2 * FRAMES, "merging": OFF}
    cache = model.remember(replace(conditioning, **once))
    steps = Conditioning(cached=True, cache=cache, range_frames=2 * FRAMES)
    assert_close(predict(model, given, steps), predict(model, given, replace(conditioning, **once)), **EXACT)


def loss_of(model: MemoryWanTransformer, conditioning: Conditioning, batch: int = 2) -> Tensor:
    return predict(model, target(batch), conditioning).square().mean()


@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
@pytest.mark.parametrize("cameras", [False, True], ids=["edits", "views"])
def test_gradients_flow_to_every_parameter(cached: bool, cameras: bool) -> None:
    """Of the base, the tokenisers, the merger and the cameras alike."""
    model = toy_transformer(cameras=cameras)
    loss_of(model, everything(cached=cached, cameras=cameras)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
def test_checkpointing_gives_equal_gradients(cached: bool) -> None:
    model, conditioning = toy_transformer(cameras=True), everything(cached=cached, cameras=True)
    gradients = []
    for checkpointing in (False, True):
        model.zero_grad()
        (model.enable_gradient_checkpointing if checkpointing else model.disable_gradient_checkpointing)()
        loss_of(model.train(), conditioning).backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})  # type: ignore
    for name, gradient in gradients[0].items():
        assert_close(gradients[1][name], gradient, atol=1e-7, rtol=1e-5)


def test_lora_learns_and_leaves_the_base() -> None:
    model, conditioning = toy_transformer(), everything(cached=True)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    losses = []
    for _ in range(4):
        loss = loss_of(model, conditioning)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    kept = {name.replace(".base_layer", ""): parameter for name, parameter in model.named_parameters()}
    assert all(torch.equal(kept[name], parameter) for name, parameter in before.items())


def test_a_model_learns_to_look_at_its_memory() -> None:
    """The target's latents are a memory's: after some steps the loss with the memory is far below that without."""
    model = toy_transformer(seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = {True: 0.0, False: 0.0}
    for step in range(120):
        random = torch.Generator().manual_seed(step)
        wanted = torch.randn(8, CHANNELS, 1, 1, 1, generator=random).expand(-1, -1, FRAMES, ROWS, ROWS)
        noise = torch.randn(wanted.shape, generator=random)
        video = (ConditionVideo(wanted.contiguous(), 4, start=2),)
        text = torch.zeros(8, 1, TEXT)
        for with_memory in (True, False):
            given = (noise, torch.full((8,), 1000.0), text)
            loss = (predict(model, given, Conditioning(video if with_memory else ())) - wanted).square().mean()
            losses[with_memory] = loss.item()
            if with_memory:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    assert losses[True] < 0.5 * losses[False]


@torch.no_grad()
def test_what_is_planned_is_what_is_done() -> None:
    """Leaving the pass at the last merge finds the same frames as going on to the end."""
    model, given, conditioning = toy_transformer(), target(2), everything()
    done = model(*given, attention_kwargs={"conditioning": conditioning})
    planned = model.plan_merges(*given, conditioning)
    assert planned.merged_frames(0) == done.plan.merged_frames(0)
    assert planned.merged_frames(1) == done.plan.merged_frames(1)
    assert planned.merged_frames(1), "something is merged"
    left = model(*given, attention_kwargs={"conditioning": replace(conditioning, plan_only=True)})
    assert left.sample is None


@torch.no_grad()
def test_only_memory_under_a_fixed_text_is_cached() -> None:
    model = toy_transformer()
    with pytest.raises(AssertionError, match="one fixed text"):
        model.remember(Conditioning(memories()))
    with pytest.raises(AssertionError, match="only memory is cached"):
        model.remember(everything(cached=True))


@torch.no_grad()
def test_clean_frames_are_told_apart() -> None:
    """A timestep by token: the first frame at 0 is another input than all at one time, memory or none."""
    model = toy_transformer()
    latents, _, text = target()
    noisy = torch.full((1, FRAMES * 4 * 6), 700.0)
    clean = noisy.clone()
    clean[:, : 4 * 6] = 0
    for conditioning in (None, Conditioning(memories())):
        found = [predict(model, (latents, times, text), conditioning) for times in (noisy, clean)]
        assert (found[0] - found[1]).abs().max() > 1e-3
    mixed = base_of(model)(latents, clean, text).sample
    assert_close(predict(model, (latents, clean, text), Conditioning()), mixed, **EXACT)


@torch.no_grad()
def test_half_precision_follows_full_precision() -> None:
    model, given, conditioning = toy_transformer(), target(), Conditioning(memories(), HALF)
    exact = predict(model, given, conditioning)
    plan = model(*given, attention_kwargs={"conditioning": conditioning}).plan
    latents, timestep, text = given
    halves = tuple(replace(video, latents=video.latents.bfloat16()) for video in conditioning.videos)
    found = predict(
        model.to(torch.bfloat16), (latents.bfloat16(), timestep, text.bfloat16()), Conditioning(halves, plan=plan)
    )
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.1 * exact.abs().max()


@torch.no_grad()
def test_a_saved_transformer_is_the_same(tmp_path: Path) -> None:
    model, given, conditioning = toy_transformer(cameras=True), target(2), everything(cameras=True)
    model.save_pretrained(tmp_path)
    again = MemoryWanTransformer.from_pretrained(tmp_path).eval()
    assert all(not parameter.is_meta for parameter in again.parameters())
    assert torch.equal(predict(again, given, conditioning), predict(model, given, conditioning))


@pytest.mark.parametrize("cached", [False, True], ids=["joint", "cached"])
@torch.no_grad()
def test_offloading_from_outside_reaches_every_weight(cached: bool) -> None:
    """Weights that wait elsewhere are brought in by hooks on `forward`: every one of them must be used through it."""
    model, given, conditioning = toy_transformer(cameras=True), target(2), everything(cached=cached, cameras=True)
    expected = predict(model, given, conditioning)
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(predict(model, given, conditioning), expected)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_compiling_the_blocks_from_outside_changes_no_result() -> None:
    """Each block as one graph without breaks, in code that was generated for it; in a program of its own."""
    command = [sys.executable, "-m", "tests.model.backbones.compiled", "inductor"]
    run = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    graphs, difference = run.stdout.split()
    assert 0 < int(graphs) <= GRAPHS
    assert float(difference) < 1e-5

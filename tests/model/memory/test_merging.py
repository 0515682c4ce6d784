"""Which frames are merged, what becomes of them, and what finding out costs."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.config import MergeConfig
from model.memory.merging import (
    NOBODY,
    Choice,
    FrameMerger,
    MergePlan,
    MergeStep,
    choose_frames,
    frame_keys,
    merge_blocks,
    merge_fraction,
    merge_parts,
    responsiveness,
)
from model.memory.rope import coarsen, rotary_grid
from model.memory.sequence import ConditionVideo, Part
from tests.model.toy import FRAMES, memories, predict, target, toy_transformer

WIDTH = 6


def a_part(frames: int = 5, rows: int = 3, columns: int = 4, batch: int = 2, **options: Any) -> Part:
    torch.manual_seed(0)
    numbers = (torch.arange(frames) + 10).expand(batch, -1)
    given = {"cameras": torch.randn(batch, frames, 12), "present": None, "live": False, "mergeable": True, **options}
    rotary = rotary_grid(range(frames), rows, columns, 12)
    return Part(tokens=torch.randn(batch, frames, rows, columns, WIDTH), rotary=rotary, frames=numbers, **given)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 6))
def test_responsiveness_is_its_definition(seed: int, num_queries: int, num_frames: int) -> None:
    """Eq. 5, written down query by query and frame by frame, in double precision."""
    torch.manual_seed(seed)
    queries, keys = 3 * torch.randn(1, num_queries, WIDTH), 3 * torch.randn(1, num_frames, WIDTH)
    found = responsiveness(queries, keys)
    for frame in range(num_frames):
        greatest = 0.0
        for query in queries[0].double():
            weights = [torch.exp(query @ key / WIDTH**0.5) for key in keys[0].double()]
            greatest = max(greatest, float(weights[frame] / sum(weights)))
        assert float(found[0, frame]) == pytest.approx(greatest, abs=1e-6)


def test_responsiveness_does_not_see_absent_frames() -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(2, 7, WIDTH), torch.randn(2, 5, WIDTH)
    present = torch.tensor([[True, False, True, True, False], [True] * 5])
    found = responsiveness(queries, keys, present)
    assert_close(found[0, present[0]], responsiveness(queries[:1], keys[:1, present[0]])[0])
    assert_close(found[1], responsiveness(queries[1:], keys[1:])[0])
    assert (found[0, ~present[0]] == 0).all()


def test_the_frame_key_is_the_mean_of_a_frames_keys() -> None:
    part = a_part()
    keys = part.tokens.flatten(1, 3)
    assert_close(frame_keys(keys, part), part.tokens.mean(dim=(2, 3)))


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that anything makes."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.size = max(self.size, result.numel())
        return result


def test_scoring_never_makes_the_full_matrix() -> None:
    """Target tokens times frames, in numbers and in products; a frame has 1560 tokens at the real size."""
    num_queries, num_frames, tokens_per_frame = 300, 8, 12
    queries, part = torch.randn(1, num_queries, WIDTH), a_part(frames=num_frames, batch=1)
    keys = torch.randn(1, num_frames * tokens_per_frame, WIDTH)
    counter, largest = FlopCounterMode(display=False), Largest()
    with counter, largest:
        responsiveness(queries, frame_keys(keys, part))
    assert largest.size == num_queries * num_frames
    assert counter.get_total_flops() == 2 * num_queries * num_frames * WIDTH


def flops(model: MemoryWanTransformer, conditioning: Conditioning) -> tuple[int, MergePlan]:
    """Of one forward pass of 81 frames at 480x832, on a device that only knows shapes."""
    with torch.device("meta"):
        latents, text = torch.empty(1, 16, 21, 60, 104), torch.empty(1, 512, 4096)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            output = model(latents, torch.empty(1), text, attention_kwargs={"conditioning": conditioning})
    return counter.get_total_flops(), output.plan


@pytest.mark.parametrize("num_memories", [1, 5])
def test_scoring_costs_little_at_the_real_size(num_memories: int) -> None:
    """Under 2 % of a forward pass at Wan's 1.3 billion parameters: with a plan the same merges cost no scores."""
    with torch.device("meta"):
        sizes = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 30}
        model = MemoryWanTransformer(**sizes)
        videos = tuple(
            ConditionVideo(torch.empty(1, 16, 21, 60, 104), 4 if rank < 3 else 8, start=2)
            for rank in range(num_memories)
        )
    with_scores, plan = flops(model, Conditioning(videos, MergeConfig()))
    without, _ = flops(model, Conditioning(videos, plan=plan))
    assert [step.block for step in plan.steps] == [10, 20]
    assert 0 < with_scores - without < 0.02 * without


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_a_fresh_merger_gives_the_mean(frames: int, rows: int, columns: int) -> None:
    tokens = torch.randn(2, frames, rows, columns, WIDTH)
    merged = FrameMerger(WIDTH)(tokens)
    assert merged.shape == (2, frames, -(-rows // 2), -(-columns // 2), WIDTH)
    for row in range(merged.shape[2]):
        for column in range(merged.shape[3]):
            down = torch.tensor([2 * row, 2 * row + 1]).clamp(max=rows - 1)
            right = torch.tensor([2 * column, 2 * column + 1]).clamp(max=columns - 1)
            mean = tokens[:, :, down][:, :, :, right].mean(dim=(2, 3))
            assert_close(merged[:, :, row, column], mean, atol=1e-5, rtol=1e-5)


def test_the_share_grows_with_the_number_of_memories() -> None:
    shares = [merge_fraction(MergeConfig(), memories) for memories in range(13)]
    assert shares[0] == 0, "a user's video alone stays whole"
    assert shares[1] == pytest.approx(0.3)
    assert shares[10:] == pytest.approx([0.7] * 3)
    assert all(one < other for one, other in pairwise(shares[1:11]))
    assert [merge_fraction(MergeConfig(fraction=0.45), memories) for memories in (0, 7)] == [0, 0.45]


@pytest.mark.parametrize(("depth", "expected"), [(30, (10, 20)), (40, (13, 27)), (4, (1, 3)), (2, (1,)), (1, (1,))])
def test_merging_is_at_a_third_and_two_thirds(depth: int, expected: tuple[int, ...]) -> None:
    assert merge_blocks(MergeConfig(), depth) == expected
    assert merge_blocks(MergeConfig(mode="off"), depth) == ()
    assert merge_blocks(MergeConfig(blocks=(2, 5)), depth) == (2, 5)


@given(st.integers(0, 10_000), st.floats(0, 0.99), st.integers(1, 12))
def test_the_least_responsive_share_is_merged(seed: int, fraction: float, frames: int) -> None:
    scores = torch.rand(2, frames, generator=torch.Generator().manual_seed(seed))
    count = round(fraction * frames)
    low, high = (choose_frames(scores, [fraction], mode) for mode in ("merge", "high"))
    if count == 0:
        assert low is None
        assert high is None
        return
    assert low is not None
    assert high is not None
    for row in range(2):
        order = scores[row].argsort().tolist()
        assert low.merged[row].tolist() == sorted(order[:count])
        assert low.kept[row].tolist() == sorted(order[count:])
        assert high.merged[row].tolist() == sorted(order[frames - count :])


@pytest.mark.parametrize("mode", ["merge", "high"])
def test_each_sample_merges_its_own_share_of_the_frames_it_has(mode: str) -> None:
    scores = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]])
    present = torch.tensor([[True] * 4, [False, True, True, False], [False] * 4])
    choice = choose_frames(scores, [0.75, 0.5, 0.5], mode, present)
    assert choice is not None
    assert choice.merged_real is not None
    assert choice.kept_real is not None
    merged = [row[real].tolist() for row, real in zip(choice.merged, choice.merged_real, strict=True)]
    kept = [row[real].tolist() for row, real in zip(choice.kept, choice.kept_real, strict=True)]
    assert merged == ([[0, 2, 3], [2], []] if mode == "merge" else [[1, 2, 3], [1], []])
    assert kept == ([[1], [1], []] if mode == "merge" else [[0], [2], []])
    assert choose_frames(scores, [0.1], mode, present) is None


CHOICE = Choice(merged=torch.tensor([[0, 3], [1, 2]]), kept=torch.tensor([[1, 2, 4], [0, 3, 4]]))


def test_everything_about_a_token_is_merged_along() -> None:
    part, merger = a_part(), FrameMerger(WIDTH)
    (kept, merged), (numbers,) = merge_parts([part], [CHOICE], merger, "merge")
    assert part.cameras is not None
    assert kept.cameras is not None
    assert merged.cameras is not None
    assert kept.whole
    assert not merged.whole
    for sample in range(2):
        staying, fused = CHOICE.kept[sample], CHOICE.merged[sample]
        assert torch.equal(kept.tokens[sample], part.tokens[sample, staying])
        assert torch.equal(kept.rotary.cos[sample], part.rotary.cos[0, staying])
        assert_close(merged.tokens[sample], merger(part.tokens[sample : sample + 1, fused])[0])
        pooled = coarsen(part.rotary, 2)
        assert torch.equal(merged.rotary.cos[sample], pooled.cos[0, fused])
        assert torch.equal(merged.rotary.sin[sample], pooled.sin[0, fused])
        assert torch.equal(kept.cameras[sample], part.cameras[sample, staying])
        assert torch.equal(merged.cameras[sample], part.cameras[sample, fused])
    assert numbers is not None
    assert numbers.tolist() == [[10, 13], [11, 12]]


def test_discarding_only_keeps() -> None:
    part, merger = a_part(), FrameMerger(WIDTH)
    (kept,), numbers = merge_parts([part], [CHOICE], merger, "discard")
    assert torch.equal(kept.frames, torch.tensor([[11, 12, 14], [10, 13, 14]]))
    assert len(numbers) == 1


def test_parts_without_a_choice_stay_as_they_are() -> None:
    part = a_part()
    parts, numbers = merge_parts([part, part], [None, CHOICE], FrameMerger(WIDTH), "merge")
    assert parts[0] is part
    assert len(parts) == 3
    assert numbers[0] is None


def test_frames_that_a_sample_lacks_are_nobodys() -> None:
    present = torch.tensor([[True] * 5, [True, False, True, True, True]])
    _, (numbers,) = merge_parts([a_part(present=present)], [CHOICE], FrameMerger(WIDTH), "merge")
    assert numbers is not None
    assert numbers.tolist() == [[10, 13], [NOBODY, 12]]
    plan = MergePlan((MergeStep(2, (CHOICE,), (numbers,)),), range_frames=5)
    assert plan.merged_frames(0) == {2: [10, 13]}
    assert plan.merged_frames(1) == {2: [12]}
    assert plan.by_video(0) == {2: {2: [0, 3]}}


@torch.no_grad()
def test_a_plan_tells_what_was_merged_and_where() -> None:
    model, videos = toy_transformer(), memories((4, 4, 8))
    conditioning = Conditioning(videos, MergeConfig(fraction=0.5, blocks=(1, 3)))
    plan = model(*target(), attention_kwargs={"conditioning": conditioning}).plan
    shown = plan.by_video()
    assert set(shown) <= {0, 1, 2}
    assert all(frame < FRAMES for blocks in shown.values() for frames in blocks.values() for frame in frames)
    merged = {block: sum(len(blocks.get(block, [])) for blocks in shown.values()) for block in (1, 3)}
    fine, coarse = 2 * FRAMES, FRAMES
    first = round(fine / 2) + round(coarse / 2)
    second = round((fine - round(fine / 2)) / 2) + round((coarse - round(coarse / 2)) / 2)
    assert merged == {1: first, 3: second}
    numbers = [number for frames in plan.merged_frames().values() for number in frames]
    assert len(set(numbers)) == len(numbers), "a frame is merged once"


@torch.no_grad()
def test_a_plan_is_obeyed() -> None:
    """Its own plan leads a pass to the same result; another plan to another one."""
    model, given, videos = toy_transformer(), target(), memories()
    by_mode = {}
    for mode in ("merge", "discard", "high"):
        output = model(
            *given, attention_kwargs={"conditioning": Conditioning(videos, MergeConfig(mode=mode, fraction=0.5))}
        )
        again = predict(model, given, Conditioning(videos, MergeConfig(mode=mode), plan=output.plan))
        assert torch.equal(again, output.sample)
        by_mode[mode] = output
    assert by_mode["merge"].plan.merged_frames()[1] == by_mode["discard"].plan.merged_frames()[1]
    assert by_mode["merge"].plan.merged_frames()[1] != by_mode["high"].plan.merged_frames()[1]
    samples = [output.sample for output in by_mode.values()]
    assert all((samples[one] - samples[other]).abs().max() > 1e-4 for one, other in ((0, 1), (0, 2), (1, 2)))


def test_a_plan_is_shared_between_live_videos_and_the_rest() -> None:
    numbers = (torch.tensor([[0]]), torch.tensor([[7]]), None)
    plan = MergePlan((MergeStep(1, (None, CHOICE, None), numbers, live=1),), range_frames=5)
    live, rest = plan.share(live=True), plan.share(live=False)
    assert live.merged_frames() == {1: [0]}
    assert rest.merged_frames() == {1: [7]}
    assert rest.steps[0].choices == (CHOICE, None)
    assert rest.by_video() == {1: {1: [2]}}


@pytest.mark.parametrize("mode", ["merge", "high"])
def test_frames_that_all_samples_have_are_merged_by_each_samples_share(mode: str) -> None:
    """Told by fractions alone, it is what it is where every frame is said to be present."""
    scores = torch.rand(3, 8, generator=torch.Generator().manual_seed(0))
    fractions = (0.5, 0.0, 0.25)
    found = choose_frames(scores, fractions, mode)
    expected = choose_frames(scores, fractions, mode, torch.ones(3, 8, dtype=torch.bool))
    assert found is not None
    assert expected is not None
    for name, tensor in vars(found).items():
        assert torch.equal(tensor, getattr(expected, name))
    assert found.merged_real is not None
    assert found.merged_real.sum(dim=1).tolist() == [4, 0, 2]

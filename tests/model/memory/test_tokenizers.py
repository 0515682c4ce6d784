"""Large tokens start as the base's token of the average-pooled latents, whatever the size of the picture."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from torch.testing import assert_close

from model.config import MixConfig, TokenConfig
from model.memory.tokenizers import COARSE, FINE, MemoryTokenizer, memory_patch, pad_to_multiple

CHANNELS, WIDTH = 6, 10


def inflated(patch: int, whole_numbers: bool = False) -> tuple[MemoryTokenizer, nn.Conv3d]:
    """A tokeniser made from a base; with whole numbers in it, floating point makes no error at all."""
    base = nn.Conv3d(CHANNELS, WIDTH, (1, 2, 2), (1, 2, 2))
    if whole_numbers:
        base.weight.data.copy_(torch.randint(-64, 64, base.weight.shape))
        assert base.bias is not None
        base.bias.data.copy_(torch.randint(-64, 64, base.bias.shape))
    tokenizer = MemoryTokenizer(CHANNELS, WIDTH, patch)
    tokenizer.inflate(base)
    return tokenizer, base


def stretch(latents: Tensor, factor: int) -> Tensor:
    return latents.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


@pytest.mark.parametrize("patch", [FINE, COARSE])
def test_on_constant_blocks_an_inflated_tokenizer_gives_the_bases_token_exactly(patch: int) -> None:
    torch.manual_seed(0)
    tokenizer, base = inflated(patch, whole_numbers=True)
    latents = torch.randint(-64, 64, (2, CHANNELS, 3, 4, 6)).float()
    tokens = tokenizer(stretch(latents, patch // 2))
    assert torch.equal(tokens, base(latents).permute(0, 2, 3, 4, 1))


@pytest.mark.parametrize("patch", [FINE, COARSE])
def test_a_large_token_is_the_bases_token_of_the_pooled_latents(patch: int) -> None:
    torch.manual_seed(0)
    tokenizer, base = inflated(patch)
    latents, window = torch.randn(1, CHANNELS, 2, 16, 24), (1, patch // 2, patch // 2)
    assert_close(tokenizer(latents), base(F.avg_pool3d(latents, window)).permute(0, 2, 3, 4, 1))


@pytest.mark.parametrize(("rows", "columns"), [(30, 52), (60, 104)])
@pytest.mark.parametrize("patch", [FINE, COARSE])
def test_what_does_not_divide_is_padded_by_its_edge(rows: int, columns: int, patch: int) -> None:
    """The latents of 480x832 pixels under Wan2.2's and Wan2.1's VAE."""
    tokenizer = MemoryTokenizer(CHANNELS, WIDTH, patch)
    latents = torch.randn(1, CHANNELS, 2, rows, columns)
    longer = torch.cat([latents, latents[..., -1:, :].expand(-1, -1, -1, -rows % patch, -1)], dim=-2)
    longer = torch.cat([longer, longer[..., -1:].expand(-1, -1, -1, -1, -columns % patch)], dim=-1)
    tokens = tokenizer(latents)
    assert tokens.shape == (1, 2, -(-rows // patch), -(-columns // patch), WIDTH)
    assert torch.equal(tokens, tokenizer(longer))


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 4]), st.sampled_from([3, 4, 5]))
def test_padding_repeats_edges_and_leaves_the_rest(rows: int, columns: int, multiple: int, axes: int) -> None:
    grid = torch.arange(6.0).repeat_interleave(rows * columns).reshape(*(1, 2, 3)[: axes - 2], -1, rows, columns)
    grid = grid + torch.rand(rows, columns)
    padded = pad_to_multiple(grid, multiple)
    assert padded.shape[-2] % multiple == padded.shape[-1] % multiple == 0
    row = torch.arange(padded.shape[-2]).clamp(max=rows - 1)
    column = torch.arange(padded.shape[-1]).clamp(max=columns - 1)
    assert torch.equal(padded, grid[..., row[:, None], column])
    assert padded.shape[-2] < rows + multiple


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (TokenConfig(), [4, 4, 4, 8, 8]),
        (TokenConfig(fine=1), [4, 8, 8, 8, 8]),
        (TokenConfig(fine=0), [8, 8, 8, 8, 8]),
        (TokenConfig(fine=2, fine_patch=2, coarse_patch=4), [2, 2, 4, 4, 4]),
        (TokenConfig.uniform(2), [2, 2, 2, 2, 2]),
        (TokenConfig.uniform(4), [4, 4, 4, 4, 4]),
        (TokenConfig.uniform(8), [8, 8, 8, 8, 8]),
    ],
)
def test_the_budget_is_a_config(tokens: TokenConfig, expected: list[int]) -> None:
    assert [memory_patch(rank, tokens) for rank in range(5)] == expected


@pytest.mark.parametrize("given", [{"fine_patch": 8, "coarse_patch": 4}, {"fine_patch": 3}, {"fine": -1}])
def test_a_budget_that_makes_no_sense_is_refused(given: dict[str, Literal[4, 8]]) -> None:
    with pytest.raises(ValidationError):
        TokenConfig(**given)


@pytest.mark.parametrize("patches", [(8, 4), (3, 4)])
def test_a_mix_of_tokenisers_that_makes_no_sense_is_refused(patches: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="patches"):
        MixConfig.model_validate({"patches": patches})

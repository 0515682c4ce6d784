"""Stability over blocks: known series, and that a pass which is listened to computes what it computes otherwise."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import model.metrics.studies as studies
from model.camera.presets import preset
from model.config import EditConfig, MergeConfig, SamplingConfig
from model.editor import MemoryEditor
from model.metrics.stability import bottom_overlap, first_blocks, pearson, spearman, stability
from model.metrics.studies import (
    REDUCTIONS,
    VARIANTS,
    Scene,
    compare_reductions,
    measure_costs,
    measure_responses,
    scene_of_segments,
    scene_of_views,
)

CHECKPOINTS = Path(__file__).resolve().parents[3] / "checkpoints"
RANDOM = np.random.default_rng(0)
SEGMENTS = RANDOM.random((4, 5, 64, 64, 3), np.float32)
CONFIG = EditConfig(sampling=SamplingConfig(steps=2, guidance=1.0))
CAMERAS = [preset(name, 5) for name in ("pan-left", "tilt-up", "arc-right")]


def test_thirds_begin_as_in_the_paper() -> None:
    assert first_blocks(30) == (1, 11, 21)
    assert first_blocks(4) == (1, 2, 3)
    assert first_blocks(2) == (1,)


@given(st.permutations(range(7)))
def test_ranks_are_all_that_counts_to_spearman(order: list[int]) -> None:
    one, other = np.arange(7.0), np.array(order, dtype=float)
    assert spearman(np.exp(one), other**3) == pytest.approx(pearson(one, other))


def test_the_overlap_is_of_the_lower_half() -> None:
    assert bottom_overlap(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 9, 8])) == 1
    assert bottom_overlap(np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1])) == 0
    assert spearman(np.array([1.0, 1, 2]), np.array([5.0, 5, 9])) == pytest.approx(1)


def test_what_stays_is_stable_and_noise_is_not() -> None:
    frames = RANDOM.random(40)
    steady = stability([frames * scale for scale in (np.arange(1.0, 7)[:, None],)])
    assert all(row[name].mean == pytest.approx(1) for row in steady.values() for name in row)
    assert steady[1]["pearson"].n == 5
    noise = stability([RANDOM.random((6, 40)) for _ in range(20)])
    assert abs(noise[1]["pearson"].mean) < 0.1
    assert noise[1]["bottom_overlap"].mean == pytest.approx(0.5, abs=0.1)


@pytest.fixture(scope="module")
def editor() -> MemoryEditor:
    return MemoryEditor.from_pretrained(CHECKPOINTS / "demo")


@pytest.fixture(scope="module")
def scene(editor: MemoryEditor) -> Scene:
    return scene_of_segments(editor, list(SEGMENTS), "make it night", CONFIG)


def test_every_block_is_heard_and_nothing_changes(editor: MemoryEditor, scene: Scene) -> None:
    whole = CONFIG.model_copy(update={"merging": MergeConfig(mode="off")})
    before = scene.edit(editor, whole).edited
    heard = measure_responses(editor, scene, CONFIG)
    np.testing.assert_array_equal(scene.edit(editor, whole).edited, before)
    depth, frames = len(editor.backbone.transformer.blocks), 3 * 2
    assert [each.scores.shape for each in heard] == [(depth, frames)] * 2
    assert sorted(heard[0].videos) == [0, 0, 1, 1, 2, 2]
    assert all(each.scores.min() >= 0 and each.scores.max() <= 1 for each in heard)


def test_responses_are_those_that_merging_goes_by(editor: MemoryEditor, scene: Scene) -> None:
    """At the first block, before anything is merged, half of the frames: those with the lowest scores."""
    merging = MergeConfig(fraction=0.5, blocks=(1,))
    scene.edit(editor, CONFIG.model_copy(update={"merging": merging}))
    assert editor.merge_plan is not None
    merged = editor.merge_plan.merged_frames()[1]
    scores = measure_responses(editor, scene, CONFIG)[0].scores[0]
    assert sorted(np.argsort(scores)[:3].tolist()) == merged


def test_reductions_and_costs_of_any_model(editor: MemoryEditor, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "REPEATS", 1)
    found = compare_reductions(editor, scene, CONFIG)
    assert set(found) == set(REDUCTIONS)
    assert all(10 < row["psnr"] < 100 and row["ssim"] < 1 for row in found.values())
    costs = measure_costs(editor, scene, CONFIG, [0, 3])
    work = {variant: costs[variant][3]["gigaflops"] for variant in VARIANTS}
    assert work["uniform"] > work["dynamic"] > work["dynamic_merging"] > costs["dynamic"][0]["gigaflops"]
    assert len({row[0]["gigaflops"] for row in costs.values()}) == 1
    assert all(cost["seconds"] > 0 for row in costs.values() for cost in row.values())


def test_views_have_responses_too() -> None:
    """The user's video is the first of the conditions; the latest view follows."""
    editor = MemoryEditor.from_pretrained(CHECKPOINTS / "demo-views")
    scene = scene_of_views(editor, SEGMENTS[0], CAMERAS, CONFIG)
    heard = measure_responses(editor, scene, CONFIG)
    assert sorted(heard[0].videos) == [0, 0, 1, 1, 2, 2]
    assert heard[0].scores.shape == (len(editor.backbone.transformer.blocks), 6)

"""The editor: one segment, its memories, its predecessor, and everything that can be asked of it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from numpy.testing import assert_array_equal

from model.backbones.tiny import WINDOW, build_tiny_lucy_edit, build_tiny_recam
from model.camera.presets import preset
from model.config import EditConfig, MergeConfig, SamplingConfig, SpeedConfig, TokenConfig
from model.editor import MemoryEditor
from model.errors import RequestError, WeightsError
from model.types import EditedSegment, Memory, ViewMemory

CLIP = np.random.default_rng(0).random((9, 64, 96, 3), np.float32)
SAMPLING = SamplingConfig(steps=2, guidance=3.0)
PROMPT = "give the ball a red hat"


def config(**options: Any) -> EditConfig:
    return EditConfig(**{"sampling": SAMPLING, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_lucy_edit(tmp_path_factory.mktemp("lucy"))


@pytest.fixture(scope="module")
def editor(folder: Path) -> MemoryEditor:
    return MemoryEditor.from_pretrained(folder)


@pytest.fixture(scope="module")
def first(editor: MemoryEditor) -> EditedSegment:
    return editor.edit(CLIP, PROMPT, seed=1, config=config())


@pytest.fixture(scope="module")
def memories(editor: MemoryEditor, first: EditedSegment) -> tuple[Memory, ...]:
    other = editor.edit(CLIP[::-1].copy(), PROMPT, seed=2, config=config())
    return (Memory("first", first.edited, first.source, is_previous=True), Memory("other", other.edited, other.source))


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_a_seed_decides_everything(editor: MemoryEditor, memories: tuple[Memory, ...], attention: str) -> None:
    runs = [editor.edit(CLIP, PROMPT, memories, seed, config(attention=attention)) for seed in (5, 5, 6)]
    assert_array_equal(runs[0].frames, runs[1].frames)
    assert_array_equal(runs[0].edited, runs[1].edited)
    assert np.abs(runs[0].edited - runs[2].edited).max() > 1e-2


def test_texts_are_read_once_for_all_segments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = MemoryEditor.from_pretrained(folder)
    read: list[str] = []
    encode = editor.backbone.pipeline.encode_prompt

    def counted(prompt: str, *words: Any, **options: Any) -> Any:
        read.append(prompt)
        return encode(prompt, *words, **options)

    monkeypatch.setattr(editor.backbone.pipeline, "encode_prompt", counted)
    edits = [editor.edit(CLIP, prompt, seed=1, config=config()) for prompt in (PROMPT, PROMPT, "make it night", PROMPT)]
    assert read == [PROMPT, "make it night"]
    assert_array_equal(edits[0].frames, edits[3].frames)
    assert np.abs(edits[0].frames - edits[2].frames).max() > 1e-3


def test_what_no_step_changes_is_computed_once(
    folder: Path, memories: tuple[Memory, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 2 steps of 2 branches: tokens of the memories, and keys and values of the text that each branch reads."""
    editor = MemoryEditor.from_pretrained(folder)
    transformer, called = editor.backbone.transformer, Counter[str]()

    def count(name: str, module: torch.nn.Module) -> None:
        module.register_forward_hook(lambda *_: called.update([name]))

    count("memory", transformer.memory_tokenizers["4"])
    count("text", transformer.condition_embedder.text_embedder)
    count("key", transformer.blocks[-1].attn2.to_k)
    count("query", transformer.blocks[-1].attn2.to_q)
    monkeypatch.setattr(type(transformer), "dtype", property(lambda _: called.update(["dtype"])))
    editor.edit(CLIP, PROMPT, config=config())
    assert called == {"text": 2, "key": 2, "query": 4}
    called.clear()
    editor.edit(CLIP, PROMPT, memories, config=config())
    assert called == {"memory": 2 * len(memories), "text": 2, "key": 2, "query": 4}


def passes(editor: MemoryEditor, memories: tuple[Memory, ...], speed: SpeedConfig) -> tuple[int, EditedSegment]:
    """How many velocities the transformer computed for one segment of 12 steps with guidance, and the segment."""
    ran: list[object] = []
    hook = editor.backbone.transformer.proj_out.register_forward_hook(lambda *_: ran.append(None))
    faster = MemoryEditor(editor.backbone, speed)
    steps = config(sampling=SamplingConfig(steps=12, guidance=3.0), merging=MergeConfig(fraction=0.5))
    edited = faster.edit(CLIP, PROMPT, memories, 4, steps)
    hook.remove()
    return len(ran), edited


def test_late_guidance_saves_a_pass_a_step(editor: MemoryEditor, memories: tuple[Memory, ...]) -> None:
    plain, whole = passes(editor, memories, SpeedConfig())
    half, edited = passes(editor, memories, SpeedConfig(guided_share=0.5))
    assert (plain, half) == (24, 18)
    assert 0 < np.abs(edited.edited - whole.edited).max() < 0.2 * np.abs(whole.edited).max()


def test_forecast_steps_save_both_passes_while_frames_are_merged(
    editor: MemoryEditor, memories: tuple[Memory, ...]
) -> None:
    plain, whole = passes(editor, memories, SpeedConfig())
    fewer, edited = passes(editor, memories, SpeedConfig(forecast=0.3))
    assert plain == 24
    assert 6 <= fewer < 24
    assert fewer % 2 == 0
    error = np.linalg.norm(edited.edited - whole.edited) / np.linalg.norm(whole.edited)
    assert 0 < error < 0.3


def test_latents_that_are_known_are_not_encoded_again(editor: MemoryEditor, first: EditedSegment) -> None:
    """They are what counts: with those of `CLIP`, other pictures make no difference."""
    known = first.source.copy()
    known.flags.writeable = False
    again = editor.edit(1 - CLIP, PROMPT, seed=1, config=config(), source_latents=known)
    assert_array_equal(again.edited, first.edited)
    assert_array_equal(again.source, first.source)
    with pytest.raises(RequestError, match="expected those of 9 frames"):
        editor.edit(CLIP, PROMPT, config=config(), source_latents=first.source[:, :-1])


def test_the_result_is_complete(first: EditedSegment) -> None:
    assert first.frames.shape == CLIP.shape
    assert first.frames.dtype == first.edited.dtype == np.float32
    assert first.frames.min() >= 0
    assert first.frames.max() <= 1
    assert first.edited.shape == first.source.shape == (16, 3, 8, 12)
    assert set(first.seconds) == {"encode", "denoise", "decode", "total"}
    assert first.seconds["total"] >= sum(seconds for name, seconds in first.seconds.items() if name != "total")


def test_what_it_is_given_may_be_read_only(editor: MemoryEditor, memories: tuple[Memory, ...]) -> None:
    """Arrays shared between processes cannot be written to; a warning would fail this test."""
    expected = editor.edit(CLIP, PROMPT, memories, config=config(clean_latents=1), predecessor=memories[0].edited)
    locked = [CLIP.copy(), *(array.copy() for memory in memories for array in (memory.edited, memory.source))]
    for array in locked:
        array.setflags(write=False)
    clip, one, its_source, two, other_source = locked
    kept = (replace(memories[0], edited=one, source=its_source), replace(memories[1], edited=two, source=other_source))
    found = editor.edit(clip, PROMPT, kept, config=config(clean_latents=1), predecessor=one)
    assert_array_equal(found.frames, expected.frames)


ABLATIONS: dict[str, EditConfig] = {
    "paper": config(),
    "no merging": config(merging=MergeConfig(mode="off")),
    "discard": config(merging=MergeConfig(mode="discard", fraction=0.5)),
    "high": config(merging=MergeConfig(mode="high", fraction=0.5)),
    "uniform": config(tokens=TokenConfig.uniform(2)),
    "all fine": config(tokens=TokenConfig.uniform(4)),
    "all coarse": config(tokens=TokenConfig.uniform(8)),
    "one fine": config(tokens=TokenConfig(fine=1)),
    "not reversed": config(reverse_memory=False),
    "without sources": config(memory_source=False),
    "cached": config(attention="cached"),
}


def test_every_ablation_is_a_config_that_makes_a_difference(editor: MemoryEditor, memories: tuple[Memory, ...]) -> None:
    results = {name: editor.edit(CLIP, PROMPT, memories, config=each).edited for name, each in ABLATIONS.items()}
    results["no memory"] = editor.edit(CLIP, PROMPT, config=config()).edited
    same = {frozenset((one, other)) for one in results for other in results if one != other}
    alike = {pair for pair in same if np.array_equal(*(results[name] for name in pair))}
    assert alike == {frozenset(("paper", "all fine"))}, "two memories are among the best three"


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_the_negative_branch_may_forget(editor: MemoryEditor, memories: tuple[Memory, ...], attention: str) -> None:
    with_memory, without = (
        editor.edit(
            CLIP,
            PROMPT,
            memories,
            config=config(attention=attention, sampling=SAMPLING.model_copy(update={"memory_in_negative": wanted})),
        ).edited
        for wanted in (True, False)
    )
    assert np.abs(with_memory - without).max() > 1e-4


def test_without_guidance_there_is_one_branch(editor: MemoryEditor) -> None:
    """Then the negative prompt cannot matter."""
    sampled = [
        editor.edit(CLIP, PROMPT, config=config(sampling=SamplingConfig(steps=2, guidance=scale, negative=negative)))
        for scale, negative in ((1.0, ""), (1.0, "mountains"), (3.0, ""), (3.0, "mountains"))
    ]
    assert_array_equal(sampled[0].edited, sampled[1].edited)
    assert np.abs(sampled[2].edited - sampled[3].edited).max() > 1e-5


def test_a_segment_that_recalls_nothing_has_a_scale_of_its_own(
    editor: MemoryEditor, memories: tuple[Memory, ...]
) -> None:
    scales = {"all 3": {"guidance": 3.0}, "first 3": {"first_guidance": 3.0}, "none": {}}
    alone, recalling = (
        {
            name: editor.edit(
                CLIP, PROMPT, given, config=config(sampling=SamplingConfig(**{"steps": 2, "guidance": 1.0} | scale))
            ).edited
            for name, scale in scales.items()
        }
        for given in ((), memories)
    )
    assert_array_equal(alone["first 3"], alone["all 3"])
    assert_array_equal(recalling["first 3"], recalling["none"])
    assert np.abs(alone["all 3"] - alone["none"]).max() > 1e-5
    assert np.abs(recalling["all 3"] - recalling["none"]).max() > 1e-5


def test_a_segment_that_recalls_nothing_is_made_again_with_its_draft_as_memory(
    editor: MemoryEditor, memories: tuple[Memory, ...]
) -> None:
    once, twice = (
        config(sampling=SamplingConfig(steps=2, guidance=1.0, first_guidance=3.0, first_drafts=drafts))
        for drafts in (1, 2)
    )
    draft = editor.edit(CLIP, PROMPT, config=once)
    told: list[tuple[int, int]] = []
    settled = editor.edit(CLIP, PROMPT, config=twice, progress=lambda done, planned: told.append((done, planned)))
    by_hand = editor.edit(CLIP, PROMPT, [Memory("draft", draft.edited, draft.source)], config=once)
    assert_array_equal(settled.edited, by_hand.edited)
    assert np.abs(settled.edited - draft.edited).max() > 1e-5
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert settled.merges == (), "the draft is no memory that was recalled"
    recalling = (editor.edit(CLIP, PROMPT, memories, config=each).edited for each in (once, twice))
    assert_array_equal(*recalling)


def test_progress_is_told(editor: MemoryEditor) -> None:
    told: list[tuple[int, int]] = []
    editor.edit(CLIP, PROMPT, config=config(), progress=lambda done, planned: told.append((done, planned)))
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_it_tells_what_it_merged(editor: MemoryEditor, memories: tuple[Memory, ...], attention: str) -> None:
    settings = config(attention=attention, merging=MergeConfig(fraction=0.5))
    done = editor.edit(CLIP, PROMPT, memories, config=settings)
    assert editor.merge_plan is not None
    shown = editor.merge_plan.by_video()
    assert {(one.memory, one.block): list(one.frames) for one in done.merges or ()} == {
        (video, block): frames for video, blocks in shown.items() for block, frames in blocks.items()
    }
    assert set(shown) <= {0, 1}
    assert sum(len(frames) for blocks in shown.values() for frames in blocks.values()) == 3 + round(3 / 2)
    assert editor.edit(CLIP, PROMPT, config=config(attention=attention)).merges == ()
    assert editor.merge_plan.by_video() == {}, "nothing to merge, and nothing left of the last edit"


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_memories_may_be_shorter_or_longer(editor: MemoryEditor, memories: tuple[Memory, ...], attention: str) -> None:
    """Segments of short shots have fewer frames."""
    cut = replace(memories[1], edited=memories[1].edited[:, :2], source=memories[1].source[:, :2])
    settings = config(attention=attention, merging=MergeConfig(fraction=0.5))
    found = editor.edit(CLIP, PROMPT, (memories[0], cut), config=settings)
    assert np.abs(found.edited - editor.edit(CLIP, PROMPT, memories, config=settings).edited).max() > 1e-4
    assert editor.edit(CLIP[:5], PROMPT, memories, config=settings).edited.shape == (16, 2, 8, 12)


# Seams


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_a_segment_begins_with_its_predecessors_last_latents(
    editor: MemoryEditor, first: EditedSegment, memories: tuple[Memory, ...], count: int, attention: str
) -> None:
    """Handed on bit for bit, and taken notice of: the rest of the segment comes out differently."""
    settings = config(clean_latents=count, attention=attention)
    found = editor.edit(CLIP, PROMPT, memories, config=settings, predecessor=first.edited)
    alone = editor.edit(CLIP, PROMPT, memories, config=settings)
    assert_array_equal(found.edited[:, :count], first.edited[:, -count:])
    assert np.abs(found.edited[:, count:] - alone.edited[:, count:]).max() > 1e-3


def test_without_clean_latents_the_predecessor_is_nothing(editor: MemoryEditor, first: EditedSegment) -> None:
    results = [editor.edit(CLIP, PROMPT, config=config(), predecessor=each) for each in (None, first.edited)]
    assert_array_equal(results[0].edited, results[1].edited)


@pytest.mark.parametrize(("latents", "frames"), [(0, 0), (1, 1), (2, 5), (5, 17)])
def test_the_overlap_is_what_the_clean_latents_show(latents: int, frames: int) -> None:
    """As many frames as the VAE decodes so many latents to."""
    assert EditConfig(clean_latents=latents).clean_overlap == frames


def test_a_predecessor_that_does_not_fit_is_refused(editor: MemoryEditor, first: EditedSegment, tmp_path: Path) -> None:
    def join(count: int, predecessor: np.ndarray, by: MemoryEditor = editor) -> EditedSegment:
        return by.edit(CLIP, PROMPT, config=config(clean_latents=count), predecessor=predecessor)

    with pytest.raises(RequestError, match="clean_latents=3: expected at most 2"):
        join(3, first.edited)
    with pytest.raises(RequestError, match="clean_latents=2: expected at most 1"):
        join(2, first.edited[:, :1])
    with pytest.raises(RequestError, match="expected another size"):
        join(1, first.edited[..., :6])
    one_time = MemoryEditor.from_pretrained(build_tiny_lucy_edit(tmp_path, expand_timesteps=False))
    with pytest.raises(RequestError, match="one timestep for all tokens"):
        join(1, first.edited, one_time)


# New views


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> MemoryEditor:
    return MemoryEditor.from_pretrained(build_tiny_recam(tmp_path_factory.mktemp("recam")))


def view(viewer: MemoryEditor, *memories: ViewMemory, **options: Any) -> np.ndarray:
    return viewer.edit(CLIP, memories=memories, trajectory=preset("arc-left", 9), config=config(**options)).edited


def test_the_users_video_may_be_cached_too(viewer: MemoryEditor) -> None:
    """With memories and without; it then is another model, so the result is another one."""
    memory = ViewMemory("one", view(viewer), preset("pan-left", 9))
    for memories in ((), (memory,)):
        live, cached = (view(viewer, *memories, attention="cached", cache_user_video=each) for each in (False, True))
        assert np.abs(live - cached).max() > 1e-4
    joint = [view(viewer, memory, cache_user_video=each) for each in (False, True)]
    assert_array_equal(*joint, err_msg="nothing is cached in joint attention")


@pytest.mark.parametrize("cache_user_video", [False, True])
def test_views_may_be_forgotten_in_the_negative_branch(viewer: MemoryEditor, cache_user_video: bool) -> None:
    """The user's video is none of them: it stays, cached or not."""
    memory = ViewMemory("one", view(viewer), preset("pan-left", 9))
    sampling = SAMPLING.model_copy(update={"memory_in_negative": False})
    options = {"attention": "cached", "cache_user_video": cache_user_video}
    forgetful, both = view(viewer, memory, sampling=sampling, **options), view(viewer, memory, **options)
    assert np.abs(forgetful - both).max() > 1e-4
    assert_array_equal(view(viewer, sampling=sampling, **options), view(viewer, **options))


@pytest.mark.parametrize(("instruction", "negative", "branches"), [("", "", 1), ("", "mountains", 2), ("hat", "", 2)])
def test_two_branches_under_one_text_are_one(
    viewer: MemoryEditor, instruction: str, negative: str, branches: int
) -> None:
    """As of views that are given no instruction: guidance would add nothing, so the bits stay."""
    memory = ViewMemory("one", view(viewer), preset("pan-left", 9))
    ran: list[object] = []
    hook = viewer.backbone.transformer.proj_out.register_forward_hook(lambda *_: ran.append(None))
    plain, guided = (
        viewer.edit(
            CLIP,
            instruction,
            [memory],
            config=config(sampling=SamplingConfig(steps=2, guidance=scale, negative=negative)),
            trajectory=preset("arc-left", 9),
        ).edited
        for scale in (1.0, 3.0)
    )
    hook.remove()
    assert len(ran) == 2 + 2 * branches
    assert np.array_equal(plain, guided) is (branches == 1)


def test_temporal_ranges_are_those_of_the_presets_window(viewer: MemoryEditor) -> None:
    """In training and in editing alike, however short a video is; longer ones have the room they need."""
    window = viewer.backbone.window
    assert window == WINDOW.latent_frames == 5
    for frames, expected in ((3, 5), (7, 7)):
        given = viewer.backbone.conditioning(torch.zeros(1, 16, frames, 8, 12), [], preset("arc-left", 9), EditConfig())
        assert given.range_frames == expected


def test_a_cached_user_video_equals_its_mask(viewer: MemoryEditor) -> None:
    """One forward pass with the user's video secluded in the sequence, and one with its keys and values cached."""
    backbone = viewer.backbone
    torch.manual_seed(0)
    noise, source, text = torch.randn(1, 16, 3, 8, 12), torch.randn(1, 16, 3, 8, 12), torch.randn(1, 5, 32)
    settings = config(attention="cached", cache_user_video=True, merging=MergeConfig(mode="off"))
    memory = ViewMemory("one", source[0].numpy() + 1, preset("pan-left", 9))
    joint = backbone.conditioning(source, [memory], preset("arc-left", 9), settings)
    assert joint is not None
    assert joint.memories == 1
    masked = replace(joint, cached=True, memory_text=text)
    with torch.no_grad():
        cache = backbone.transformer.remember(masked)
        steps = replace(masked, videos=(), cache=cache)
        found, expected = (
            backbone.transformer(noise, torch.tensor([600.0]), text, attention_kwargs={"conditioning": each}).sample
            for each in (steps, masked)
        )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


# Precision, size and place


@pytest.mark.parametrize("residual_vae", [False, True], ids=["wan2.1-vae", "wan2.2-vae"])
def test_half_precision_runs_and_keeps_the_vae_whole(tmp_path: Path, residual_vae: bool) -> None:
    half = MemoryEditor.from_pretrained(build_tiny_lucy_edit(tmp_path, residual_vae=residual_vae), dtype="bfloat16")
    assert half.backbone.transformer.dtype == torch.bfloat16
    assert half.backbone.pipeline.vae.dtype == torch.float32
    clip = np.random.default_rng(0).random((9, 128, 128, 3), np.float32)
    start = half.edit(clip, PROMPT, config=config())
    memory = Memory("start", start.edited, start.source)
    for attention in ("joint", "cached"):
        settings = config(attention=attention, clean_latents=1)
        found = half.edit(clip, PROMPT, [memory], config=settings, predecessor=start.edited)
        assert np.isfinite(found.frames).all()
        assert_array_equal(found.edited[:, :1], start.edited[:, -1:])


@pytest.mark.parametrize("residual_vae", [False, True], ids=["wan2.1-vae", "wan2.2-vae"])
def test_tiles_show_nearly_the_same_picture(tmp_path: Path, residual_vae: bool) -> None:
    """And leave no trace: the next edit without tiles is whole again."""
    editor = MemoryEditor.from_pretrained(build_tiny_lucy_edit(tmp_path, residual_vae=residual_vae))
    clip = np.random.default_rng(0).random((5, 128, 128, 3), np.float32)
    whole, tiled, again = (editor.edit(clip, PROMPT, config=config(tile=tile)) for tile in (None, 64, None))
    assert_array_equal(whole.frames, again.frames)
    assert tiled.frames.shape == whole.frames.shape
    assert 0 < np.abs(tiled.source - whole.source).mean() < 0.5 * np.abs(whole.source).mean()


@pytest.mark.parametrize("attention", ["joint", "cached"])
def test_offloading_from_outside_changes_no_result(folder: Path, memories: tuple[Memory, ...], attention: str) -> None:
    """Weights lie elsewhere between their uses; hooks bring them in."""
    plain, changed = MemoryEditor.from_pretrained(folder), MemoryEditor.from_pretrained(folder)
    cpu_offload(changed.backbone.transformer, execution_device=torch.device("cpu"))
    settings = config(attention=attention, merging=MergeConfig(fraction=0.5))
    expected, found = (each.edit(CLIP, PROMPT, memories, config=settings).edited for each in (plain, changed))
    assert_array_equal(found, expected)


# What is refused


@pytest.mark.parametrize("frames", [2, 8, 12])
def test_frames_must_be_4k_plus_1(editor: MemoryEditor, frames: int) -> None:
    with pytest.raises(RequestError, match=f"{frames} frames: expected 4k\\+1, such as {5 if frames < 12 else 9}"):
        editor.edit(np.zeros((frames, 64, 96, 3), np.float32), PROMPT)


@pytest.mark.parametrize("size", [(60, 96), (64, 90)])
def test_the_size_must_fit_the_model(editor: MemoryEditor, size: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match=f"{size[1]}x{size[0]} pixels: this model needs multiples of 16"):
        editor.edit(np.zeros((5, *size, 3), np.float32), PROMPT)


def test_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such model folder"):
        MemoryEditor.from_pretrained(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="expected a complete diffusers folder"):
        MemoryEditor.from_pretrained(tmp_path)

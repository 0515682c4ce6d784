"""The ReCamMaster base: our one block loop computes what its authors' model computes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.testing import assert_array_equal
from torch import Tensor

from model.backbones.tiny import build_tiny_lucy_edit, build_tiny_recam
from model.backbones.transformer import Conditioning, MemoryWanTransformer
from model.camera.presets import preset
from model.camera.trajectory import Trajectory
from model.config import EditConfig, MergeConfig, SamplingConfig
from model.editor import MemoryEditor
from model.errors import RequestError, WeightsError
from model.memory.sequence import ConditionVideo
from model.types import EditedSegment, ViewMemory

CLIP = np.random.default_rng(0).random((9, 64, 96, 3), np.float32)
QUICK = {"sampling": SamplingConfig(steps=2, guidance=3.0)}
HEADS, HEAD, CHANNELS, DEPTH, TEXT = 2, 12, 4, 3, 8
WIDTH = HEADS * HEAD
FRAMES, ROWS, COLUMNS = 3, 4, 6


def tiny_model(seed: int = 0) -> MemoryWanTransformer:
    torch.manual_seed(seed)
    model = MemoryWanTransformer(
        num_attention_heads=HEADS,
        attention_head_dim=HEAD,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        text_dim=TEXT,
        ffn_dim=32,
        num_layers=DEPTH,
        rope_max_seq_len=32,
        cameras=True,
    )
    for block in model.blocks:
        torch.nn.init.normal_(block.camera.weight, std=0.1)
        torch.nn.init.normal_(block.projector.weight, std=0.2)
        torch.nn.init.normal_(block.projector.bias, std=0.1)
    return model.eval()


def velocity(
    model: MemoryWanTransformer, latents: Tensor, timestep: Tensor, text: Tensor, conditioning: Conditioning
) -> Tensor:
    return model(latents, timestep, text, attention_kwargs={"conditioning": conditioning}).sample


class Original:
    """ReCamMaster's forward pass written down plainly, over a checkpoint with its authors' names."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.w = weights

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def heads(self, name: str, norm: str, x: Tensor) -> Tensor:
        normed = F.rms_norm(self.linear(name, x), (WIDTH,), self.w[f"{norm}.weight"], eps=1e-6)
        return normed.unflatten(2, (HEADS, HEAD)).transpose(1, 2)

    def attention(self, name: str, x: Tensor, context: Tensor, angles: Tensor | None) -> Tensor:
        query = self.heads(f"{name}.q", f"{name}.norm_q", x)
        key = self.heads(f"{name}.k", f"{name}.norm_k", context)
        value = self.linear(f"{name}.v", context).unflatten(2, (HEADS, HEAD)).transpose(1, 2)
        if angles is not None:
            query, key = (self.turn(each, angles) for each in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.linear(f"{name}.o", mixed)

    @staticmethod
    def turn(x: Tensor, angles: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).float()

    @staticmethod
    def angles(frames: int, rows: int, columns: int) -> Tensor:
        spatial = HEAD // 3
        grid = torch.meshgrid(*(torch.arange(size).double() for size in (frames, rows, columns)), indexing="ij")
        axes = zip(grid, (HEAD - 2 * spatial, spatial, spatial), strict=True)
        return torch.cat([at.reshape(-1, 1) / 10_000 ** (torch.arange(0, d, 2) / d) for at, d in axes], dim=1)

    def block(self, name: str, x: Tensor, text: Tensor, cameras: Tensor, time: Tensor, angles: Tensor) -> Tensor:
        shift, scale, gate, ff_shift, ff_scale, ff_gate = (self.w[f"{name}.modulation"] + time).chunk(6, dim=1)
        entering = F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + scale) + shift
        entering = entering + self.linear(f"{name}.cam_encoder", cameras)
        attended = self.attention(f"{name}.self_attn", entering, entering, angles)
        x = x + gate * self.linear(f"{name}.projector", attended)
        normed = F.layer_norm(x, (WIDTH,), self.w[f"{name}.norm3.weight"], self.w[f"{name}.norm3.bias"], eps=1e-6)
        x = x + self.attention(f"{name}.cross_attn", normed, text, None)
        entering = F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + ff_scale) + ff_shift
        entering = F.gelu(self.linear(f"{name}.ffn.0", entering), approximate="tanh")
        return x + ff_gate * self.linear(f"{name}.ffn.2", entering)

    def forward(self, latents: Tensor, source: Tensor, timestep: Tensor, text: Tensor, cameras: Tensor) -> Tensor:
        x = torch.cat([latents, source], dim=2)
        x = F.conv3d(x, self.w["patch_embedding.weight"], self.w["patch_embedding.bias"], stride=(1, 2, 2))
        frames, rows, columns = x.shape[2:]
        x = x.flatten(2).mT
        text = self.linear("text_embedding.2", F.gelu(self.linear("text_embedding.0", text), approximate="tanh"))
        frequencies = 10_000 ** (-torch.arange(128).double() / 128)
        waves = torch.outer(timestep.double(), frequencies)
        time = self.linear("time_embedding.0", torch.cat([waves.cos(), waves.sin()], dim=1).float())
        time = self.linear("time_embedding.2", F.silu(time))
        by_block = self.linear("time_projection.1", F.silu(time)).unflatten(1, (6, WIDTH))
        by_token = cameras.repeat(1, 2, 1).repeat_interleave(rows * columns, dim=1)
        for index in range(DEPTH):
            x = self.block(f"blocks.{index}", x, text, by_token, by_block, self.angles(frames, rows, columns))
        shift, scale = (self.w["head.modulation"] + time[:, None]).chunk(2, dim=1)
        x = self.linear("head.head", F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + scale) + shift)
        x = x.unflatten(1, (frames, rows, columns)).unflatten(4, (1, 2, 2, CHANNELS))
        return x.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6).flatten(4, 5).flatten(2, 3)[:, :, : latents.shape[2]]


def test_one_block_loop_computes_recammaster(original_names: dict[str, str]) -> None:
    model = tiny_model()
    original = Original({original_names[name]: tensor for name, tensor in model.state_dict().items()})
    latents, source = torch.randn(2, 2, CHANNELS, FRAMES, ROWS, COLUMNS)
    timestep, text, cameras = torch.tensor([700.0, 30.0]), torch.randn(2, 5, TEXT), torch.randn(2, FRAMES, 12)
    video = ConditionVideo(source, patch=2, start=1, cameras=cameras, live=True, mergeable=False)
    with torch.no_grad():
        ours = velocity(model, latents, timestep, text, Conditioning((video,), target_cameras=cameras))
        theirs = original.forward(latents, source, timestep, text, cameras)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_gradients_reach_every_camera_module() -> None:
    model = tiny_model()
    latents, source, view = torch.randn(3, 1, CHANNELS, FRAMES, ROWS, COLUMNS)
    user, target, other = torch.randn(3, 1, FRAMES, 12)
    videos = (
        ConditionVideo(source, patch=2, start=1, cameras=user, live=True),
        ConditionVideo(view, patch=4, start=2, cameras=other),
    )
    conditioning = Conditioning(videos, target_cameras=target)
    predicted = velocity(model, latents, torch.tensor([500.0]), torch.randn(1, 5, TEXT), conditioning)
    predicted.square().mean().backward()
    for block in model.blocks:
        for parameter in (*block.camera.parameters(), *block.projector.parameters()):
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


def edit(editor: MemoryEditor, *memories: ViewMemory, move: str = "arc-left", **config: Any) -> EditedSegment:
    settings = EditConfig(sampling=SamplingConfig(steps=2, guidance=3.0), **config)
    return editor.edit(CLIP, memories=memories, trajectory=preset(move, 9), config=settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_recam(tmp_path_factory.mktemp("recam"))


@pytest.fixture(scope="module")
def editor(folder: Path) -> MemoryEditor:
    return MemoryEditor.from_pretrained(folder)


@pytest.fixture(scope="module")
def views(editor: MemoryEditor) -> tuple[ViewMemory, ViewMemory]:
    moves = ("pan-left", "zoom-in")
    return tuple(ViewMemory(move, edit(editor, move=move).edited, preset(move, 9)) for move in moves)


def test_a_view_is_deterministic_and_depends_on_its_trajectory(editor: MemoryEditor) -> None:
    left, again, right = (edit(editor, move=move) for move in ("arc-left", "arc-left", "arc-right"))
    assert left.frames.shape == CLIP.shape
    assert left.edited.shape == left.source.shape == (16, 3, 8, 12)
    assert_array_equal(left.frames, again.frames)
    assert np.abs(left.edited - right.edited).max() > 1e-3


@pytest.mark.parametrize("attention", ["joint", "cached"])
@pytest.mark.parametrize("merging", ["merge", "off"])
def test_memories_count_with_their_cameras(
    editor: MemoryEditor, views: tuple[ViewMemory, ...], attention: str, merging: str
) -> None:
    options = {"attention": attention, "merging": MergeConfig(mode=merging)}
    alone, with_views = edit(editor, **options), edit(editor, *views, **options)
    moved = edit(editor, replace(views[0], trajectory=preset("tilt-up", 9)), views[1], **options)
    assert np.abs(alone.edited - with_views.edited).max() > 1e-4
    assert np.abs(moved.edited - with_views.edited).max() > 1e-5


def test_a_cache_equals_its_mask(editor: MemoryEditor, views: tuple[ViewMemory, ...]) -> None:
    """The user's video stays live: it attends to the target, memory does not."""
    backbone, transformer = editor.backbone, editor.backbone.transformer
    torch.manual_seed(0)
    noise, source = torch.randn(2, 1, 16, 3, 8, 12)
    text, timestep = torch.randn(1, 5, 32), torch.tensor([600.0])
    joint = backbone.conditioning(source, views, preset("arc-left", 9), EditConfig(merging=MergeConfig(mode="off")))
    with torch.no_grad():
        masked = replace(joint, cached=True, memory_text=text)
        expected = velocity(transformer, noise, timestep, text, masked)
        cache = transformer.remember(replace(masked, videos=joint.videos[1:]))
        told = {"target_cameras": joint.target_cameras, "range_frames": joint.range_frames}
        cached = Conditioning(joint.videos[:1], cached=True, cache=cache, **told)
        found = velocity(transformer, noise, timestep, text, cached)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_negative_branch_may_forget(editor: MemoryEditor, views: tuple[ViewMemory, ...]) -> None:
    settings = [SamplingConfig(steps=2, guidance=3.0, memory_in_negative=wanted) for wanted in (True, False)]
    both = [
        editor.edit(CLIP, memories=views, trajectory=preset("arc-left", 9), config=EditConfig(sampling=one)).edited
        for one in settings
    ]
    assert np.abs(both[0] - both[1]).max() > 1e-5


def test_the_users_video_may_be_told_the_targets_cameras(editor: MemoryEditor) -> None:
    """As ReCamMaster alone was trained; with a camera that stands still it makes no difference."""
    own, target = (edit(editor, source_camera=choice).edited for choice in ("own", "target"))
    assert np.abs(own - target).max() > 1e-5
    still = [
        editor.edit(CLIP, trajectory=Trajectory.still(1), config=EditConfig(**QUICK, source_camera=choice)).edited
        for choice in ("own", "target")
    ]
    assert_array_equal(*still)


def test_a_trajectory_of_another_length_is_resampled(editor: MemoryEditor) -> None:
    results = [
        editor.edit(CLIP, trajectory=preset("zoom-in", frames), config=EditConfig(**QUICK)).edited for frames in (9, 33)
    ]
    np.testing.assert_allclose(*results, atol=1e-4)


def test_a_fresh_model_on_a_plain_wan_folder_pays_no_heed_to_cameras(tmp_path: Path) -> None:
    fresh = MemoryEditor.from_pretrained(build_tiny_recam(tmp_path, memory=False))
    left, right = (edit(fresh, move=move).edited for move in ("arc-left", "arc-right"))
    assert_array_equal(left, right)
    assert all(not parameter.is_meta for parameter in fresh.backbone.transformer.parameters())


def test_a_saved_model_edits_as_before(editor: MemoryEditor, tmp_path: Path) -> None:
    editor.save_pretrained(tmp_path)
    assert_array_equal(edit(MemoryEditor.from_pretrained(tmp_path)).frames, edit(editor).frames)


def test_half_precision_works(folder: Path, views: tuple[ViewMemory, ...]) -> None:
    half = MemoryEditor.from_pretrained(folder, dtype="bfloat16")
    assert half.backbone.transformer.dtype == torch.bfloat16
    assert np.isfinite(edit(half, *views, attention="cached").frames).all()


def test_each_kind_of_model_says_what_it_needs(editor: MemoryEditor, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="was given none"):
        editor.edit(CLIP, "an instruction alone")
    lucy = MemoryEditor.from_pretrained(build_tiny_lucy_edit(tmp_path))
    with pytest.raises(RequestError, match="takes no camera trajectory"):
        lucy.edit(CLIP, "snow", trajectory=preset("arc-left", 9))


def test_folders_of_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())

    def named(**changes: object) -> Path:
        (tmp_path / "model" / "model_index.json").write_text(json.dumps({**index, **changes}))
        return tmp_path / "model"

    with pytest.raises(WeightsError, match="is a FluxPipeline; expected LucyEditPipeline or WanPipeline"):
        MemoryEditor.from_pretrained(named(_class_name="FluxPipeline"))
    with pytest.raises(WeightsError, match="two transformers"):
        MemoryEditor.from_pretrained(named(transformer_2=["diffusers", "WanTransformer3DModel"]))
    with pytest.raises(WeightsError, match="has camera modules; expected the other kind"):
        MemoryEditor.from_pretrained(named(_class_name="LucyEditPipeline"))


def test_it_tells_of_memories_alone_what_was_merged(editor: MemoryEditor, views: tuple[ViewMemory, ...]) -> None:
    """The user's video, which may be merged too, comes before them."""
    settings = EditConfig(**QUICK, merging=MergeConfig(fraction=0.5))
    done = editor.edit(CLIP, memories=views, trajectory=preset("arc-left", 9), config=settings)
    assert editor.merge_plan is not None
    shown = editor.merge_plan.by_video()
    assert {(one.memory + 1, one.block): list(one.frames) for one in done.merges or ()} == {
        (video, block): frames for video, blocks in shown.items() if video for block, frames in blocks.items()
    }
    assert 0 in shown, "the user's video was merged, too"

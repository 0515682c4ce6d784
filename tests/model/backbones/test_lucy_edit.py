"""LucyEdit with a memory: without memories it is diffusers' own pipeline, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.lucy.pipeline_lucy_edit import LucyEditPipeline
from PIL import Image
from torch import Tensor

from model.backbones.backbone import Codec, load_transformer
from model.backbones.tiny import build_tiny_lucy_edit
from model.backbones.transformer import MemoryWanTransformer
from model.config import EditConfig, SamplingConfig
from model.editor import MemoryEditor
from model.errors import WeightsError
from model.types import Memory

FRAMES, HEIGHT, WIDTH = 9, 64, 128  # tokens in fours: of others torch may round the last ones otherwise
CLIP = (np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3)) / 255.0).astype(np.float32)
STEPS, GUIDANCE = 3, 4.0
QUICK = EditConfig(sampling=SamplingConfig(steps=STEPS, guidance=GUIDANCE))


def diffusers_edit(folder: Path, noise: Tensor) -> np.ndarray:
    pipeline = LucyEditPipeline.from_pretrained(folder)
    pictures = [Image.fromarray(np.rint(frame * 255).astype(np.uint8)) for frame in CLIP]
    result = pipeline(
        video=pictures,
        prompt="give the ball a red hat",
        negative_prompt="",
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        latents=noise,
        output_type="pt",
    )
    return result.frames[0].permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("residual_vae", [False, True], ids=["wan2.1-vae", "wan2.2-vae"])
@pytest.mark.parametrize("expand_timesteps", [False, True], ids=["timestep", "timestep-by-token"])
def test_without_memories_it_is_diffusers_own_pipeline(
    tmp_path: Path, residual_vae: bool, expand_timesteps: bool
) -> None:
    """Bit-identical on a stock folder, both VAE types, 1-D and 2-D timesteps."""
    folder = build_tiny_lucy_edit(tmp_path, memory=False, residual_vae=residual_vae, expand_timesteps=expand_timesteps)
    editor = MemoryEditor.from_pretrained(folder)
    ours = editor.edit(CLIP, "give the ball a red hat", seed=3, config=QUICK)
    noise = torch.randn((1, *ours.edited.shape), generator=torch.Generator().manual_seed(3))
    np.testing.assert_array_equal(ours.frames, diffusers_edit(folder, noise))


@pytest.mark.parametrize("residual_vae", [False, True], ids=["wan2.1-vae", "wan2.2-vae"])
def test_the_codec_alone_is_that_of_the_model(tmp_path: Path, residual_vae: bool) -> None:
    """It needs none of the other weights, which may be too large to lie beside another model."""
    folder = build_tiny_lucy_edit(tmp_path, residual_vae=residual_vae)
    video = torch.rand(1, 3, FRAMES, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = MemoryEditor.from_pretrained(folder).backbone
    for part in ("transformer", "text_encoder"):
        for path in (folder / part).glob("*.safetensors"):
            path.unlink()
    with torch.no_grad():
        codec = Codec.load(folder)
        latents = codec.encode(video)
        assert torch.equal(latents, whole.encode(video))
        assert torch.equal(codec.decode(latents), whole.decode(latents))
    with pytest.raises(WeightsError):
        MemoryEditor.from_pretrained(folder)
    for path in (folder / "vae").glob("*.safetensors"):
        path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="its codec does not load: "):
        Codec.load(folder)


def test_without_conditioning_the_transformer_is_the_base(tmp_path: Path) -> None:
    folder = build_tiny_lucy_edit(tmp_path, memory=False) / "transformer"
    ours, base = load_transformer(folder, torch.float32), WanTransformer3DModel.from_pretrained(folder)
    torch.manual_seed(0)
    latents, text = torch.randn(2, 32, 3, 8, 12), torch.randn(2, 7, 32)
    with torch.no_grad():
        for timestep in (torch.tensor([3.0, 800.0]), torch.rand(2, 3 * 4 * 6) * 1000):
            torch.testing.assert_close(
                ours(latents, timestep, text).sample, base(latents, timestep, text).sample, rtol=0, atol=0
            )


def test_a_plain_folder_leaves_no_parameter_empty(tmp_path: Path) -> None:
    """New modules start from the base, never from what happened to lie in memory (notes: diffusers' meta trap)."""
    transformer = load_transformer(build_tiny_lucy_edit(tmp_path, memory=False) / "transformer", torch.bfloat16)
    base = transformer.patch_embedding
    for patch, tokenizer in transformer.memory_tokenizers.items():
        repeats = int(patch) // 2
        expected = base.weight.repeat_interleave(repeats, 3).repeat_interleave(repeats, 4) / repeats**2
        torch.testing.assert_close(tokenizer.weight, expected)
        torch.testing.assert_close(tokenizer.bias, base.bias)
    assert all(not each.is_meta and each.dtype == torch.bfloat16 for each in transformer.memory_tokenizers.parameters())
    assert transformer.merger.mix.weight.dtype == torch.bfloat16


def test_no_second_base_is_made_to_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights would be drawn at random, in main memory, beside those that were read."""
    folder = build_tiny_lucy_edit(tmp_path, memory=False) / "transformer"
    lay: list[set[str]] = []
    inflate = MemoryWanTransformer.inflate_memory

    def noted(self: MemoryWanTransformer) -> None:
        lay.append({each.device.type for each in self.parameters()})
        inflate(self)

    monkeypatch.setattr(MemoryWanTransformer, "inflate_memory", noted)
    transformer = load_transformer(folder, torch.float32)
    assert lay == [{"meta"}, {"cpu"}]
    assert all(not each.is_meta for each in (*transformer.parameters(), *transformer.buffers()))


def test_a_saved_model_is_the_same_model(tmp_path: Path) -> None:
    editor = MemoryEditor.from_pretrained(build_tiny_lucy_edit(tmp_path / "one"))
    for parameter in editor.backbone.transformer.merger.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    editor.save_pretrained(tmp_path / "two")
    again = MemoryEditor.from_pretrained(tmp_path / "two")
    first = editor.edit(CLIP, "snow", config=QUICK)
    memory = Memory("first", first.edited, first.source, is_previous=True)
    results = [each.edit(CLIP, "snow", [memory], 1, QUICK).frames for each in (editor, again)]
    np.testing.assert_array_equal(*results)


def test_words_are_cut_as_the_tokenisers_file_says(tmp_path: Path) -> None:
    """UMT5 spells a letter that it does not know in bytes; a tokeniser built of its pieces alone would say unknown."""
    folder = build_tiny_lucy_edit(tmp_path / "one") / "tokenizer"
    stored = json.loads((folder / "tokenizer.json").read_text())
    pieces = stored["model"]["vocab"]
    stored["model"]["vocab"] += [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
    stored["model"]["byte_fallback"] = True
    (folder / "tokenizer.json").write_text(json.dumps(stored))
    first = len(pieces) - 256
    editor = MemoryEditor.from_pretrained(folder.parent)
    assert editor.backbone.pipeline.tokenizer("☃").input_ids[-4:-1] == [first + byte for byte in "☃".encode()]
    editor.save_pretrained(tmp_path / "two")
    again = MemoryEditor.from_pretrained(tmp_path / "two").backbone.pipeline.tokenizer
    assert again("a red ☃").input_ids == editor.backbone.pipeline.tokenizer("a red ☃").input_ids


def test_missing_parts_are_named(tmp_path: Path) -> None:
    folder = build_tiny_lucy_edit(tmp_path)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="does not load"):
        MemoryEditor.from_pretrained(folder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine whose GPU torch cannot use, or without one")
def test_a_gpu_that_torch_cannot_use_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"torch cannot use this machine's GPU \(.+\); update its driver, or use"):
        MemoryEditor.from_pretrained(build_tiny_lucy_edit(tmp_path), device="cuda")
    with pytest.raises(WeightsError, match="torch cannot use"):
        Codec.load(tmp_path, "cuda")

"""LucyEdit and ReCamMaster at toy size, random weights from a seed: for tests, and to run the pipeline without weights.

    python -m model.backbones.tiny FOLDER LucyEditPipeline|WanPipeline

Every class is the real one (Wan transformer with memory, Wan video VAE, UMT5, UniPC); only the sizes are small. Nobody
has trained it: what it makes of a video is noise.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.lucy.pipeline_lucy_edit import LucyEditPipeline
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import nn

from model.backbones.toy_text import toy_text_encoder, word_tokenizer
from model.backbones.transformer import MemoryWanTransformer
from model.config import EditConfig, Preset, RetrievalConfig, SamplingConfig, WindowConfig

SENTENCES = (
    "make it a snowy winter day at night",
    "give the ball a new colour and the jacket a red hat",
    "replace the background with mountains and the sea",
)
TEXT_WIDTH = 32
WINDOW = WindowConfig(frames=17, overlap=4, height=64, width=96)
PRESET = Preset(
    name="untrained",
    window=WINDOW,
    retrieval=RetrievalConfig(top_k=5),
    edit=EditConfig(sampling=SamplingConfig(steps=4, guidance=5.0)),
)


def build_tiny_lucy_edit(
    folder: Path, seed: int = 0, *, memory: bool = True, residual_vae: bool = False, expand_timesteps: bool = True
) -> Path:
    """Write a complete diffusers folder with a `memory_v2v.json`.

    Without `memory` it is a stock LucyEdit folder. The VAE is of Wan2.1's kind (16 channels, 8x), or with
    `residual_vae` of Wan2.2's (48 channels, 16x). `expand_timesteps` gives every token a timestep, as Wan2.2 wants.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = _wan22_vae() if residual_vae else _wan21_vae()
        channels = vae.config["z_dim"]
        parts = _parts(vae)
        transformer = _transformer(memory, in_channels=2 * channels, out_channels=channels)
        pipeline = LucyEditPipeline(**parts, transformer=transformer, expand_timesteps=expand_timesteps)
    return _write(pipeline, folder)


def build_tiny_recam(folder: Path, seed: int = 0, *, memory: bool = True) -> Path:
    """Write a complete diffusers folder of the ReCamMaster kind with a `memory_v2v.json`.

    Its camera modules are random, so that trajectories make a difference. Without `memory` it is a stock Wan folder,
    without camera modules.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = _wan21_vae()
        channels = vae.config["z_dim"]
        parts = _parts(vae)
        cameras = {"cameras": True} if memory else {}
        transformer = _transformer(memory, in_channels=channels, out_channels=channels, **cameras)
        for name, parameter in transformer.named_parameters():
            if name.endswith("camera.weight"):
                nn.init.normal_(parameter, std=0.2)
        pipeline = WanPipeline(**parts, transformer=transformer)
    return _write(pipeline, folder)


def _parts(vae: AutoencoderKLWan) -> dict[str, Any]:
    tokenizer = word_tokenizer(SENTENCES)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    return {
        "tokenizer": tokenizer,
        "text_encoder": toy_text_encoder(len(tokenizer), TEXT_WIDTH),
        "vae": vae,
        "scheduler": scheduler,
    }


def _write(pipeline: DiffusionPipeline, folder: Path) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True)
    PRESET.write(folder)
    return folder


def _transformer(memory: bool, **options: Any) -> WanTransformer3DModel:
    kind = MemoryWanTransformer if memory else WanTransformer3DModel
    return kind(
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=48,
        num_layers=3,
        rope_max_seq_len=64,
        **options,
    ).eval()


def _wan21_vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()


def _wan22_vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=48,
        in_channels=12,
        out_channels=12,
        is_residual=True,
        patch_size=2,
        latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        scale_factor_spatial=16,
    ).eval()


if __name__ == "__main__":
    {"LucyEditPipeline": build_tiny_lucy_edit, "WanPipeline": build_tiny_recam}[sys.argv[2]](Path(sys.argv[1]))

"""LucyEdit and ReCamMaster at laptop size, to be trained from nothing: every class but the codec is the real one.

Its text encoder keeps its random weights: what words do is learned by the transformer, which reads them.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.pipelines.lucy.pipeline_lucy_edit import LucyEditPipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import nn

from model.backbones.block_codec import BlockCodec
from model.backbones.toy_text import toy_text_encoder, word_tokenizer
from model.backbones.transformer import MemoryWanTransformer
from model.config import Preset, SmallModelConfig

MOST_WORDS = 10  # the longest instruction of the synthetic world has eight
CAMERA_SPREAD = 0.2  # of a camera encoder's weights: from zero, where it starts in a base, it learns late


def build_small_model(
    folder: Path,
    codec: BlockCodec,
    sizes: SmallModelConfig,
    sentences: Sequence[str],
    preset: Preset,
    shift: float,
    seed: int = 0,
) -> Path:
    """Write an untrained diffusers folder, with `preset` beside it. `sentences` are those the words are taken from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = word_tokenizer(sentences, MOST_WORDS)
        edits = sizes.kind == "lucy-edit"
        transformer = MemoryWanTransformer(
            num_attention_heads=sizes.heads,
            attention_head_dim=sizes.width // sizes.heads,
            in_channels=(2 if edits else 1) * sizes.channels,
            out_channels=sizes.channels,
            text_dim=sizes.text_width,
            freq_dim=128,
            ffn_dim=sizes.feed_forward,
            num_layers=sizes.depth,
            rope_max_seq_len=256,
            cameras=not edits,
        )
        for name, parameter in transformer.named_parameters():
            if name.endswith("camera.weight"):
                nn.init.normal_(parameter, std=CAMERA_SPREAD)
        pipeline = (LucyEditPipeline if edits else WanPipeline)(
            tokenizer=tokenizer,
            text_encoder=toy_text_encoder(len(tokenizer), sizes.text_width),
            vae=codec,  # type: ignore[arg-type] - the same interface
            scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
            transformer=transformer,
            expand_timesteps=False,
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    preset.write(folder)
    return folder

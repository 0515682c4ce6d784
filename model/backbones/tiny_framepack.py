"""FramePack at toy size, random weights from a seed: for tests, and to run the extension flow without weights.

    python -m model.backbones.tiny_framepack FOLDER

Every class is the real one (Hunyuan video transformer and VAE, Llama, CLIP, SigLIP); only the sizes are small. Nobody
has trained it: what it adds to a clip is noise.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import AutoencoderKLHunyuanVideo
from diffusers.models.transformers.transformer_hunyuan_video_framepack import HunyuanVideoFramepackTransformer3DModel
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack import HunyuanVideoFramepackPipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from model.backbones.tiny import SENTENCES

WIDTH, CHANNELS, PICTURE = 16, 4, 32
CLIP_MARKS = ("<|startoftext|>", "<|endoftext|>")
LLAMA_MARKS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|pad|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)


def build_tiny_framepack(folder: Path, seed: int = 0) -> Path:
    """Write a complete diffusers folder of FramePack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llama = PreTrainedTokenizerFast(
            tokenizer_object=_byte_pairs(LLAMA_MARKS),
            bos_token=LLAMA_MARKS[0],
            eos_token=LLAMA_MARKS[1],
            pad_token=LLAMA_MARKS[2],
            padding_side="right",
        )
        merged = json.loads(_byte_pairs(CLIP_MARKS, end_of_word="</w>").to_str())["model"]
        merges: Any = [tuple(pair) for pair in merged["merges"]]
        clip = CLIPTokenizer(vocab=merged["vocab"], merges=merges, model_max_length=77)
        parts: dict[str, Any] = {
            "text_encoder": _llama(llama),
            "tokenizer": llama,
            "transformer": _transformer(),
            "vae": _vae(),
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
            "text_encoder_2": _clip(clip),
            "tokenizer_2": clip,
            "image_encoder": _siglip(),
            "feature_extractor": SiglipImageProcessorPil(size={"height": PICTURE, "width": PICTURE}, resample=3),
        }
        pipeline = HunyuanVideoFramepackPipeline(**parts)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _byte_pairs(marks: Sequence[str], end_of_word: str = "") -> Tokenizer:
    """A byte-level tokeniser whose pieces come from a few sentences; with `end_of_word` of the kind that CLIP reads."""
    tokenizer = Tokenizer(models.BPE(**({"end_of_word_suffix": end_of_word} if end_of_word else {})))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if end_of_word:
        tokenizer.normalizer = normalizers.Lowercase()
    else:
        tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(marks), initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def _transformer() -> HunyuanVideoFramepackTransformer3DModel:
    return HunyuanVideoFramepackTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        rope_axes_dim=(4, 4, 4),
        has_image_proj=True,
        image_proj_dim=WIDTH,
        has_clean_x_embedder=True,
    ).eval()


def _vae() -> AutoencoderKLHunyuanVideo:
    blocks: Any = (8, 8, 8, 8)
    return AutoencoderKLHunyuanVideo(
        latent_channels=CHANNELS, block_out_channels=blocks, layers_per_block=1, norm_num_groups=4
    ).eval()


def _llama(tokenizer: Any) -> LlamaModel:
    """Deep enough for the pipeline, which reads the third state from the last."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return LlamaModel(config).eval()


def _clip(tokenizer: Any) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return CLIPTextModel(config).eval()


def _siglip() -> SiglipVisionModel:
    config = SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=PICTURE,
        patch_size=8,
    )
    return SiglipVisionModel(config).eval()


if __name__ == "__main__":
    build_tiny_framepack(Path(sys.argv[1]))

"""LucyEdit's architecture at toy size, random weights from a seed: for tests, and to run the pipeline without weights.

    python -m model.backbones.tiny FOLDER

Every class is the real one (Wan transformer with memory, Wan video VAE, UMT5, UniPC); only the sizes are small. Nobody
has trained it: what it makes of a video is noise.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, LucyEditPipeline, UniPCMultistepScheduler, WanTransformer3DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

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
        tokenizer = _tokenizer()
        pipeline = LucyEditPipeline(
            tokenizer=tokenizer,
            text_encoder=_text_encoder(len(tokenizer)),
            vae=vae,
            scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0),
            transformer=_transformer(vae.config.z_dim, memory),
            expand_timesteps=expand_timesteps,
        )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "memory_v2v.json").write_text(PRESET.model_dump_json(indent=2))
    return folder


def _transformer(channels: int, memory: bool) -> WanTransformer3DModel:
    kind = MemoryWanTransformer if memory else WanTransformer3DModel
    return kind(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=2 * channels,
        out_channels=channels,
        text_dim=TEXT_WIDTH,
        freq_dim=32,
        ffn_dim=48,
        num_layers=3,
        rope_max_seq_len=64,
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


def _text_encoder(words: int) -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=words,
        d_model=TEXT_WIDTH,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=32,
        dropout_rate=0.0,
        is_encoder_decoder=False,
    )
    return UMT5EncoderModel(config).eval()


def _tokenizer() -> Any:
    """A unigram tokeniser over letters and the few sentences above; any text goes through it."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Lowercase()
    split = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 40, trainer)
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    return T5TokenizerFast(vocab=[tuple(entry) for entry in vocabulary], extra_ids=0)


if __name__ == "__main__":
    build_tiny_lucy_edit(Path(sys.argv[1]))

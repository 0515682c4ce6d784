"""A tokeniser and a text encoder at toy size. Nobody trains them: what words do is learned by whoever reads them."""

from collections.abc import Sequence
from string import ascii_letters, digits
from typing import Any

from transformers import UMT5Config, UMT5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

WORD, LETTER = -1.0, -10.0  # log probabilities: a known word is one piece, any other is spelled
LETTERS = ascii_letters + digits + ".,;:!?'\"-()"


def word_tokenizer(sentences: Sequence[str], most_words: int | None = None) -> Any:
    """A tokeniser to which every word of `sentences`, in lower case, is one piece; other words are spelled.

    With `most_words` a text is padded to so many pieces, and longer ones are cut.
    """
    words = sorted({word for sentence in sentences for word in sentence.lower().split()})
    pieces = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    pieces += [(f"▁{word}", WORD) for word in words]
    pieces += [("▁", LETTER), *((letter, LETTER) for letter in LETTERS)]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
    if most_words is not None:
        tokenizer.model_max_length = most_words
    return tokenizer


def toy_text_encoder(words: int, width: int) -> UMT5EncoderModel:
    """UMT5 with random weights: words differ, and know their neighbours, but mean nothing yet."""
    config = UMT5Config(
        vocab_size=words,
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=32,
        dropout_rate=0.0,
        is_encoder_decoder=False,
    )
    return UMT5EncoderModel(config).eval()

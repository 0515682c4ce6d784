"""Refuse a training whose samples are not what the model will meet when it edits by its preset.

Only the settings are read: neither clips nor weights.
"""

from model.config import DatasetConfig, ExtendedSource, TrainingRunConfig
from model.errors import RequestError


def require_agreement(dataset: DatasetConfig, config: TrainingRunConfig, views: bool) -> None:
    """Nothing that is drawn for a sample contradicts `preset.edit`; `views` says whether the model renders novel views.

    Raises:
        RequestError: tokenisers or blocks that merge are others than those that will be used; or, of a model that
            edits, memories are counted the wrong way round, or are to have sources that extended clips lack.
    """
    _require_tokenisers(config)
    _require_blocks(config)
    if not views:
        _require_order(dataset, config)
        _require_sources(dataset, config)


def _require_tokenisers(config: TrainingRunConfig) -> None:
    tokens, trained = config.preset.edit.tokens, config.training.mix.patches
    used = {tokens.coarse_patch} | ({tokens.fine_patch} if tokens.fine else set())
    if untrained := sorted(used - set(trained)):
        raise RequestError(
            f"training.mix.patches {list(trained)}: preset.edit.tokens uses {untrained[0]} too, which is not trained; "
            f"set training.mix.patches to [{tokens.fine_patch}, {tokens.coarse_patch}]"
        )


def _require_blocks(config: TrainingRunConfig) -> None:
    mix, merging = config.training.mix, config.preset.edit.merging
    if mix.merging > 0 and merging.mode != "off" and mix.merge_blocks != merging.blocks:
        told, wanted = (_said(blocks) for blocks in (mix.merge_blocks, merging.blocks))
        raise RequestError(
            f"training.mix.merge_blocks {told}: preset.edit.merging.blocks is {wanted}; set one to the other"
        )


def _require_order(dataset: DatasetConfig, config: TrainingRunConfig) -> None:
    """An extension lies behind its target, and what an edit remembers before it: the one is the mirror of the other."""
    trained, used = config.training.mix.reverse_memory, config.preset.edit.reverse_memory
    kinds = {isinstance(source, ExtendedSource) for _, _, source in dataset.named()}
    if len(kinds) > 1:
        raise RequestError(
            "sources: extended clips are remembered from behind, and others are not, so training.mix.reverse_memory is "
            "wrong for some; train on extended sources alone, or on none"
        )
    wanted = used is not kinds.pop()
    if trained is not wanted:
        raise RequestError(
            f"training.mix.reverse_memory {str(trained).lower()}: with preset.edit.reverse_memory {str(used).lower()} "
            f"and {'' if wanted is used else 'extended '}sources such as these memories would be counted the wrong way "
            f"round; set it to {str(wanted).lower()}"
        )


def _require_sources(dataset: DatasetConfig, config: TrainingRunConfig) -> None:
    for split, number, source in dataset.named():
        if isinstance(source, ExtendedSource) and config.preset.edit.memory_source:
            raise RequestError(
                f"{split}.{number} kind extended: what is remembered of it has no source, which this preset gives to "
                "the model; set preset.edit.memory_source to false"
            )


def _said(blocks: tuple[int, ...] | None) -> str:
    return "not given" if blocks is None else str(list(blocks))

"""Original Wan names of our parameters, for checkpoints as others write them."""

import pytest

from model.backbones.matching import ONE_BLOCK, WHOLE_MODEL


class OriginalNames(dict):
    """Name in our model -> name in an original Wan or ReCamMaster checkpoint; what they lack keeps its name."""

    def __missing__(self, name: str) -> str:
        module, _, leaf = name.rpartition(".")
        original = "modulation" if leaf == "scale_shift_table" else leaf
        if module.startswith("blocks."):
            _, block, *inner = module.split(".", 2)
            parts = [f"blocks.{block}", _key(ONE_BLOCK, inner[0] if inner else ""), original]
        else:
            parts = [_key(WHOLE_MODEL, module), original]
        return ".".join(part for part in parts if part)


def _key(table: dict[str, str], value: str) -> str:
    return next((key for key, found in table.items() if found == value), value)


@pytest.fixture
def original_names() -> OriginalNames:
    return OriginalNames()

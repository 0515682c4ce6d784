"""What a turn is named after."""

from pathlib import Path

import pytest

from model.config import EditConfig, EditRequest, ViewRequest
from tasks.work import settings_of


@pytest.mark.parametrize("kind", [EditRequest, ViewRequest])
def test_a_setting_that_came_later_is_in_names_only_where_it_is_not_usual(kind: type) -> None:
    """Turns that were made before it are found again."""
    what = {"instruction": "x"} if kind is EditRequest else {"cameras": ("arc-left",)}
    usual, unusual = (
        kind(video=Path("a.mp4"), out=Path("out"), weights="demo", edit=edit, **what)
        for edit in (EditConfig(), EditConfig(memory_source=False))
    )
    assert "memory_source" not in settings_of(usual)["edit"]
    assert settings_of(unusual)["edit"]["memory_source"] is False

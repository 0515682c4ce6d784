"""What a user wrote is text in the reports of Prefect, whichever of Markdown and HTML shows them."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.publish import plain

HOSTILE = (
    "<script>alert(1)</script>",
    "![x](http://evil.test/pixel.png)",
    "[click](javascript:alert(1))",
    "a | b | c",
    "`code` *bold* _it_ ~~gone~~",
    "two\n\n# headings\n> and more",
    "&lt;b&gt;",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_is_shown_as_it_was_written(text: str) -> None:
    shown = plain(text)
    assert not re.search(r"[<>\[\]`*|!\\\n]", shown)
    assert html.unescape(shown) == " ".join(text.split())


@given(st.text())
def test_no_text_begins_anything_new(text: str) -> None:
    assert "\n" not in plain(text)
    assert not set("<>[]`*_|!") & set(plain(text))

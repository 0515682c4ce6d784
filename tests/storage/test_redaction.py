"""No message has credentials in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.redaction import redact

WORDS = st.text(alphabet="abcXYZ0189+=", min_size=8, max_size=40)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("s3://me:words@films/a.mp4", "s3://[hidden]@films/a.mp4"),
        ("http://token@h:80/x?y=1", "http://[hidden]@h:80/x?y=1"),
        (
            "https://h/a?X-Amz-Credential=AK%2F&x=1&X-Amz-Signature=ab12&X-Amz-Security-Token=zz",
            "https://h/a?X-Amz-Credential=[hidden]&x=1&X-Amz-Signature=[hidden]&X-Amz-Security-Token=[hidden]",
        ),
        (
            "'https://h/a?AWSAccessKeyId=AK&Signature=ab' failed",
            "'https://h/a?AWSAccessKeyId=[hidden]&Signature=[hidden]' failed",
        ),
        ("make tom@home.mp4 red // with a @", "make tom@home.mp4 red // with a @"),
        ("/films/me@home/a.mp4", "/films/me@home/a.mp4"),
    ],
)
def test_credentials_are_hidden(text: str, left: str) -> None:
    assert redact(text) == left
    assert redact(left) == left


@given(WORDS, st.text(max_size=20), st.text(max_size=20))
def test_the_keys_of_this_process_are_hidden(secret: str, before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        assert secret not in redact(f"{before}{secret}{after}").replace("[hidden]", "")


def test_short_words_are_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    assert redact("a test") == "a test"

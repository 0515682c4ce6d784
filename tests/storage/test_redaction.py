"""No secret of an address, or of this process, is left in what others read, and all else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import cli
from storage.redaction import HIDDEN, redact

SECRET = "hunter2secret"
WORDS = st.text(alphabet="abcXYZ0189+=", min_size=8, max_size=40)


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host/clip.mp4",
        f"s3://{SECRET}@bucket/clip.mp4: not found",
        f"https://b.s3.test/clip.mp4?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET}&x-amz-security-token={SECRET}",
        f"https://host/clip.mp4?sv=2020&sig={SECRET}#t=5",
        f"GET 'https://host/?a=1&api_key={SECRET}' failed",
        f"https://host/?access_token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"two: http://a:{SECRET}@x/ and http://b:{SECRET}@y/",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    assert SECRET in text, "the control"
    assert SECRET not in redact(text)
    assert HIDDEN in redact(text)


def test_the_command_line_tells_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    weights = f"https://user:{SECRET}@host/model"
    monkeypatch.setattr("sys.argv", ["memory-v2v", "edit", "clip.mp4", "--prompt", "snow", "--weights", weights])
    with pytest.raises(SystemExit):
        cli.main()
    told = capsys.readouterr().err
    assert "memory-v2v: " in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "text",
    [
        "/films/clip.mp4: is damaged",
        "https://host/a/clip.mp4?frame=5&size=2x2",
        "owner/model@main: no such folder",
        "mail me@host.test",
        "make it basic and bold",
        "s3://bucket/keys/token=5.mp4",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_hiding_twice_hides_no_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_a_long_text_takes_no_longer_than_it_is_long() -> None:
    assert redact("://" + "a" * 200_000) == "://" + "a" * 200_000
    assert redact("?" + "a-" * 100_000) == "?" + "a-" * 100_000


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

"""Videos and results in buckets: against a server that speaks S3, and against servers that fail."""

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from model.errors import InputError, MemoryV2VError, RequestError, RunError, VideoError
from storage import object_store
from storage.object_store import PROBE, fetch, fetched, require_conditional_writes, stat, upload
from tests.storage.object_servers import OddServer, emptied, forget_servers, names_in, running_moto

SECRET, KEY_ID = "tops3cret/Zz+words", "AKIAQQQQWWWWEEEE"
CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with running_moto("films") as address:
        yield address


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keys, a region, small pieces and little patience."""
    forget_servers(monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setattr(object_store, "PIECE", 1000)
    monkeypatch.setattr(object_store, "RETRIES", 1)
    monkeypatch.setattr(object_store, "RETRYING", timedelta(seconds=2))
    return monkeypatch


@pytest.fixture
def films(moto: str, environment: pytest.MonkeyPatch) -> S3Store:
    """The bucket `films`, empty."""
    environment.setenv("MEMORY_V2V_S3_ENDPOINT", moto)
    return emptied("films", moto)


def one_line(error: MemoryV2VError) -> str:
    text = str(error)
    assert "\n" not in text
    assert len(text) < 400
    assert SECRET not in text
    assert KEY_ID not in text
    return text


@pytest.mark.parametrize("key", ["a.mp4", "season 1/ep%20+&é映.MOV", "no suffix/film"])
def test_a_video_comes_and_goes_whole(key: str, films: S3Store, tmp_path: Path) -> None:
    source = tmp_path / "result.mp4"
    source.write_bytes(CONTENT)
    sent = upload(source, f"s3://films/{key}")
    assert (sent.uri, sent.size) == (f"s3://films/{key}", len(CONTENT))
    assert names_in(films) == [key]
    assert stat(f"s3://films/{key}") == sent
    told: list[tuple[int, int]] = []
    assert fetched(f"s3://films/{key}", tmp_path / "cache") is None
    path = fetch(f"s3://films/{key}", tmp_path / "cache", lambda done, total: told.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert path.name == Path(key).name
    assert path.parent.parent == tmp_path / "cache"
    assert fetched(f"s3://films/{key}", tmp_path / "cache") == path
    assert told == [(min(done, len(CONTENT)), len(CONTENT)) for done in range(1000, len(CONTENT) + 1000, 1000)]


def test_a_copy_has_a_name_that_a_file_can_have(films: S3Store, tmp_path: Path) -> None:
    """Of a name that is too long its end, which is what the video is."""
    key = f"season/{'é' * 300}.mov"
    obstore.put(films, key, CONTENT)
    path = fetch(f"s3://films/{key}", tmp_path)
    assert path.read_bytes() == CONTENT
    assert path.name.endswith("é.mov")
    assert fetched(f"s3://films/{key}", tmp_path) == path


def test_what_is_whole_is_not_fetched_again(films: S3Store, tmp_path: Path) -> None:
    told: list[int] = []
    obstore.put(films, "a.mp4", CONTENT)
    first = fetch("s3://films/a.mp4", tmp_path, lambda done, total: told.append(done))
    count = len(told)
    assert fetch("s3://films/a.mp4", tmp_path, lambda done, total: told.append(done)) == first
    assert len(told) == count
    first.write_bytes(b"cut short")
    assert fetch("s3://films/a.mp4", tmp_path).read_bytes() == CONTENT
    obstore.put(films, "a.mp4", CONTENT[::-1])
    second = fetch("s3://films/a.mp4", tmp_path)
    assert second != first
    assert second.read_bytes() == CONTENT[::-1]


def test_a_download_goes_on_where_it_stopped(films: S3Store, tmp_path: Path) -> None:
    obstore.put(films, "a.mp4", CONTENT)

    def stop(done: int, total: int) -> None:
        if done == 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("s3://films/a.mp4", tmp_path, stop)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    told: list[int] = []
    assert fetch("s3://films/a.mp4", tmp_path, lambda done, total: told.append(done)).read_bytes() == CONTENT
    assert told[0] == 4000
    assert not list(tmp_path.glob(".*.unfinished"))


def test_a_video_that_changes_on_the_way_is_refused(films: S3Store, tmp_path: Path) -> None:
    obstore.put(films, "a.mp4", CONTENT)

    def change(done: int, total: int) -> None:
        obstore.put(films, "a.mp4", CONTENT[::-1])

    with pytest.raises(VideoError, match=r"s3://films/a\.mp4: changed while it was read"):
        fetch("s3://films/a.mp4", tmp_path, change)
    assert fetch("s3://films/a.mp4", tmp_path).read_bytes() == CONTENT[::-1]


def test_two_that_want_one_video_fetch_it_once(films: S3Store, tmp_path: Path) -> None:
    obstore.put(films, "a.mp4", CONTENT)
    told: list[int] = []

    def want() -> None:
        fetch("s3://films/a.mp4", tmp_path, lambda done, total: told.append(done))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [*range(1000, len(CONTENT), 1000), len(CONTENT)]


def test_large_results_go_in_parts(films: S3Store, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setattr(object_store, "PIECE", 2**24)
    result = tmp_path / "large.mov"
    result.write_bytes(os.urandom(2**20) * 20)
    sent = upload(result, "s3://films/large.mov")
    assert sent.version.endswith('-3"')  # so S3 marks objects of three parts
    assert fetch("s3://films/large.mov", tmp_path / "cache").stat().st_size == 20 * 2**20


def test_paths_pass_through(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(CONTENT)
    assert fetch(str(video), tmp_path / "cache") == video
    assert fetch(f"file://{video}", tmp_path / "cache") == video
    assert not (tmp_path / "cache").exists()
    before = stat(str(video))
    assert before.size == len(CONTENT)
    assert upload(video, str(video)) == before
    os.utime(video, ns=(1, 1))
    assert stat(str(video)).version != before.version
    with pytest.raises(RequestError, match="is in no bucket"):
        upload(video, str(tmp_path / "b.mp4"))
    with pytest.raises(VideoError, match="No such file"):
        stat(str(tmp_path / "b.mp4"))
    with pytest.raises(VideoError, match="No such file"):
        upload(tmp_path / "b.mp4", "s3://films/b.mp4")
    with pytest.raises(RequestError, match="scheme 'http'"):
        fetch("http://h/a.mp4", tmp_path)


def test_what_is_missing_is_told(films: S3Store, tmp_path: Path) -> None:
    for ask in (stat, lambda uri: fetch(uri, tmp_path)):
        with pytest.raises(VideoError, match=r"s3://films/b\.mp4: there is no such object"):
            ask("s3://films/b.mp4")
        with pytest.raises(VideoError, match=r"s3://absent/b\.mp4: there is no bucket 'absent'"):
            ask("s3://absent/b.mp4")
    (tmp_path / "a.mp4").write_bytes(CONTENT)
    with pytest.raises(RunError, match="there is no bucket 'absent'"):
        upload(tmp_path / "a.mp4", "s3://absent/b.mp4")
    obstore.put(films, "empty.mp4", b"")
    with pytest.raises(VideoError, match="is empty"):
        fetch("s3://films/empty.mp4", tmp_path)


def test_a_folder_that_cannot_be_written_is_told(films: S3Store, tmp_path: Path) -> None:
    obstore.put(films, "a.mp4", CONTENT)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        fetch("s3://films/a.mp4", tmp_path / "file" / "cache")


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "both"])
def test_no_credentials_are_told(missing: str, films: S3Store, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # no machine of Amazon's
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if missing == "both" else (missing,):
        environment.delenv(name)
    with pytest.raises(RequestError, match=r"no credentials; set AWS_ACCESS_KEY_ID"):
        stat("s3://films/a.mp4")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no.such.host.invalid"])
def test_a_server_that_is_away_is_told(endpoint: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("AWS_ENDPOINT_URL", endpoint)
    for ask in (stat, require_conditional_writes, lambda uri: fetch(uri, tmp_path)):
        with pytest.raises(RunError, match="cannot be reached") as raised:
            ask("s3://films/a.mp4")
        assert endpoint in one_line(raised.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:9000",
        "ftp://h",
        "http://",
        "http://h:x",
        "http://h:99999",
        "http://me:words@h",
        "http://h?x",
        "http://[",
    ],
)
def test_a_malformed_server_is_told(endpoint: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MEMORY_V2V_S3_ENDPOINT", endpoint)
    with pytest.raises(RequestError, match=r"MEMORY_V2V_S3_ENDPOINT=.*expected http://server:port") as raised:
        stat("s3://films/a.mp4")
    assert "words" not in one_line(raised.value)


def test_our_own_variable_wins(films: S3Store, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    obstore.put(films, "a.mp4", CONTENT)
    assert stat("s3://films/a.mp4").size == len(CONTENT)


@pytest.mark.parametrize("status", [401, 403])
def test_denied_access_is_told_without_credentials(
    status: int, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = f"<Error><Code>No {SECRET}</Code>GET /?X-Amz-Signature=abcdef\n{KEY_ID}</Error>"
    (tmp_path / "a.mp4").write_bytes(CONTENT)
    with OddServer(refusal=(status, body)).running() as address:
        environment.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(VideoError, match="access is denied"):
            stat("s3://films/a.mp4")
        with pytest.raises(RunError, match="access is denied") as raised:
            upload(tmp_path / "a.mp4", "s3://films/a.mp4")
    assert "abcdef" not in one_line(raised.value)
    assert "[hidden]" in str(raised.value)


def test_a_failing_server_is_told(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with OddServer(refusal=(500, "<Error><Code>InternalError</Code></Error>")).running() as address:
        environment.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(RunError, match="cannot be reached, or fails") as raised:
            stat("s3://films/a.mp4")
    one_line(raised.value)


def test_a_result_that_arrives_in_part_is_told(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(CONTENT)
    with OddServer(short=7).running() as address:
        environment.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(RunError, match=r"10,233 of 10,240 bytes arrived"):
            upload(tmp_path / "a.mp4", "s3://films/a.mp4")


def test_what_was_delivered_is_not_sent_again(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """But what is newer than the object, or of another size, is."""
    result, server = tmp_path / "a_edit_v001.mp4", OddServer()
    with server.running() as address:
        environment.setenv("AWS_ENDPOINT_URL", address)
        for content, modified, sent in ((CONTENT, 1, 1), (CONTENT, 1, 1), (CONTENT, 2**32, 2), (b"other", 1, 3)):
            result.write_bytes(content)
            os.utime(result, (modified, modified))
            assert upload(result, "s3://films/a_edit_v001.mp4").size == len(content)
            assert [method for method, _ in server.asked].count("PUT") == sent


def test_a_bucket_with_conditional_writes_will_do(films: S3Store) -> None:
    require_conditional_writes("s3://films/tables")
    assert names_in(films) == []


def test_a_bucket_without_conditional_writes_is_refused(environment: pytest.MonkeyPatch) -> None:
    server = OddServer()
    with server.running() as address:
        environment.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(RunError, match=r"s3://films/tables: .* ignores If-None-Match") as raised:
            require_conditional_writes("s3://films/tables")
    one_line(raised.value)
    assert server.asked[:2] == [("PUT", "*"), ("PUT", "*")]
    assert not [name for name in server.objects if PROBE in name]


def test_a_bucket_that_refuses_conditions_is_refused(environment: pytest.MonkeyPatch) -> None:
    with OddServer(refuses_conditions=True).running() as address:
        environment.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(RunError, match="s3://films/tables"):
            require_conditional_writes("s3://films/tables")


def test_tables_on_this_machine_need_no_probe(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no prefix in a bucket"):
        require_conditional_writes(str(tmp_path))

"""A sealed folder tells what became of it, in the words of a tool that everybody has."""

import shutil
import subprocess
from pathlib import Path

import pytest

from model.errors import RequestError
from storage.checksums import CHECKSUMS, seal, verify, xxh128


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    for name in ("clip_v001.mov", "clip_v001.json", "NOTICE.txt"):
        (tmp_path / name).write_text(f"this is {name}\n")
    seal(tmp_path)
    return tmp_path


def test_the_checksum_is_that_of_xxhsum(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"hi\n")
    assert xxh128(path) == "f4d0497cf9394caab34d1a3ab2bece70"  # xxhsum -H2, version 0.8.1


@pytest.mark.skipif(shutil.which("xxhsum") is None, reason="xxhsum is not installed")
def test_xxhsum_reads_the_list(sealed: Path) -> None:
    check = ["xxhsum", "-c", CHECKSUMS]
    assert subprocess.run(check, cwd=sealed, capture_output=True).returncode == 0
    (sealed / "NOTICE.txt").write_text("something else")
    assert subprocess.run(check, cwd=sealed, capture_output=True).returncode != 0


def test_a_whole_folder_is_whole(sealed: Path) -> None:
    assert (verify(sealed).whole, verify(sealed).faults) == (3, ())


def test_every_kind_of_damage_is_told(sealed: Path) -> None:
    content = (sealed / "clip_v001.mov").read_bytes()
    (sealed / "clip_v001.mov").write_bytes(bytes([content[0] ^ 1]) + content[1:])
    (sealed / "clip_v001.json").unlink()
    (sealed / "new.txt").touch()
    verdict = verify(sealed)
    assert verdict.whole == 1
    assert set(verdict.faults) == {
        f"{sealed / 'clip_v001.mov'}: has changed",
        f"{sealed / 'clip_v001.json'}: is missing",
        f"{sealed / 'new.txt'}: was added",
    }


def test_a_link_is_not_the_file_that_was_sealed(sealed: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "NOTICE.txt"
    (sealed / "NOTICE.txt").rename(elsewhere)
    (sealed / "NOTICE.txt").symlink_to(elsewhere)
    assert verify(sealed).faults == (f"{sealed / 'NOTICE.txt'}: has changed",)


@pytest.mark.parametrize(
    "text",
    ["", "nothing\n", f"{'0' * 32}  ../secret\n", f"{'0' * 32}  /etc/passwd\n", f"{'0' * 31}  a\n", f"{'0' * 32}  .\n"],
)
def test_a_list_that_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / CHECKSUMS).write_text(text)
    with pytest.raises(RequestError, match="no list of checksums"):
        verify(tmp_path)

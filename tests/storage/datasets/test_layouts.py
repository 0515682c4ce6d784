"""From the name of a dataset to its layout."""

from pathlib import Path

import pytest

from model.errors import RequestError
from storage.datasets.layouts import open_pairs
from storage.datasets.multicam import MultiCam
from storage.datasets.pair_folder import PairFolder
from storage.datasets.pair_worlds import PairWorlds
from storage.datasets.senorita import Senorita


@pytest.mark.parametrize(
    ("file", "place", "kind"),
    [
        ("pairs.jsonl", "", PairFolder),
        ("list.jsonl", "list.jsonl", PairFolder),
        ("target/a.mp4", "", PairFolder),
        ("lens/scene/cameras/camera_extrinsics.json", "", MultiCam),
        ("lists/swap.json", "", Senorita),
        ("worlds.yaml", "worlds.yaml", PairWorlds),
    ],
)
def test_a_layout_is_known_by_what_lies_there(file: str, place: str, kind: type, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{kind: synthetic, clips: 2}")
    assert isinstance(open_pairs(tmp_path / place, "auto", "text"), kind)


def test_what_is_said_counts_more_than_what_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").touch()
    assert open_pairs(tmp_path, "senorita", "text") == Senorita(tmp_path, "text")
    with pytest.raises(RequestError, match="expected a folder of the layout multicam"):
        open_pairs(tmp_path / "pairs.jsonl", "multicam", "text")

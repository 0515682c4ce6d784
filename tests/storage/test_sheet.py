"""Every picture stands where its row and column are, enlarged without smoothing."""

from pathlib import Path

import numpy as np
from PIL import Image

from storage.sheet import GAP, HEADING, NAME_WIDTH, Block, draw_sheet


def plain(value: int) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


def test_pictures_stand_in_their_places(tmp_path: Path) -> None:
    blocks = [
        Block("first", [("source", [plain(10), plain(20)]), ("memory", [plain(30), plain(40)])]),
        Block("second", [("source", [plain(50), plain(60)])]),
    ]
    with Image.open(draw_sheet(tmp_path / "sheet.png", blocks, 3)) as sheet:
        pixels = np.asarray(sheet)
    right, down = 18 + GAP, 12 + GAP
    second = HEADING + 2 * down + HEADING
    for top, values in ((HEADING, (10, 20)), (HEADING + down, (30, 40)), (second, (50, 60))):
        for column, value in enumerate(values):
            left = NAME_WIDTH + column * right
            assert (pixels[top : top + 12, left : left + 18] == value).all()
            assert (pixels[top : top + 12, left + 18 : left + right] == 255).all()
    assert (pixels[:HEADING] < 255).any(), "headings are written"
    assert list(tmp_path.iterdir()) == [tmp_path / "sheet.png"]

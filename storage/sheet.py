"""A sheet of frames that a person judges at a glance: rows of named pictures, enlarged without smoothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from storage.durable import whole_file

NAME_WIDTH, HEADING, GAP, MARGIN = 120, 34, 2, 12
INK, PAPER = (40, 40, 40), (255, 255, 255)
TEXT = 15


@dataclass(frozen=True)
class Block:
    """Rows that belong together under one heading, by name; all of as many pictures."""

    heading: str
    rows: Sequence[tuple[str, Sequence[UInt8[np.ndarray, "height width 3"]]]]


def draw_sheet(path: Path, blocks: Sequence[Block], scale: int) -> Path:
    """Draw the blocks below each other, every picture `scale` times as large."""
    first = blocks[0].rows[0][1]
    height, width = (scale * side for side in first[0].shape[:2])
    tall = sum(HEADING + len(block.rows) * (height + GAP) for block in blocks)
    sheet = Image.new("RGB", (NAME_WIDTH + len(first) * (width + GAP) + MARGIN, tall + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    top = 0
    for block in blocks:
        draw.text((MARGIN, top + HEADING / 2), block.heading, INK, font, anchor="lm")
        top += HEADING
        for name, pictures in block.rows:
            draw.text((MARGIN, top + height / 2), name, INK, font, anchor="lm")
            for number, picture in enumerate(pictures):
                large = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
                sheet.paste(large, (NAME_WIDTH + number * (width + GAP), top))
            top += height + GAP
    with whole_file(path) as unfinished:
        sheet.save(unfinished, "PNG")
    return path

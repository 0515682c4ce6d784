"""Pages that stand alone: one HTML file, opened from disk, which asks nobody for anything.

Whatever a user wrote is escaped. A page's content policy allows no script, or its own script and style only, by their
hashes. Knows no page; each has a template of its name in `templates/`, and a style and a script where it has any.
"""

import base64
import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePath
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from storage.durable import whole_file

THUMBNAIL_SIZE = (176, 128)  # pixels at most, width and height; some 4 kB each, so 2,000 segments stay below 40 MB
THUMBNAIL_QUALITY = 70


def render(name: str, **told: object) -> str:
    """The page of template `name`, which has no script, as text."""
    return _ENVIRONMENT.get_template(f"{name}.html.j2").render(**told)


def write_page(name: str, path: Path, **told: object) -> Path:
    """Write the page of template `name` to `path`, whole or not at all, piece by piece: it is never held in memory."""
    hashes = {"script_hash": _hash_of(f"{name}.js"), "style_hash": _hash_of(f"{name}.css")}
    page = _ENVIRONMENT.get_template(f"{name}.html.j2").stream(**told, **hashes)
    page.enable_buffering(50)
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(page)
    return path


def thumbnail(frame: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A small JPEG of a frame, for a page."""
    image = Image.fromarray(frame)
    image.thumbnail(THUMBNAIL_SIZE, Image.Resampling.BOX, reducing_gap=None)
    packed = BytesIO()
    image.save(packed, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return packed.getvalue()


def data_uri(jpeg: bytes) -> str:
    """A picture that stands in the page itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def duration(seconds: float | int) -> str:
    """`0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _hash_of(name: str) -> str:
    """The hash by which the content policy lets a script or a style in, as `sha256-...`."""
    text = _ENVIRONMENT.get_template(name).render()
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


def _svg_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _link(path: PurePath) -> str:
    """A relative link that no name can turn into another kind of address."""
    return "./" + quote(os.fsencode(path.as_posix()))


def _element_id(memory: str) -> str:
    """The id, within the page, of the card of a memory."""
    return "m-" + sha256(memory.encode()).hexdigest()[:12]


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {"data_uri": data_uri, "svg_uri": _svg_uri, "link": _link, "element_id": _element_id, "duration": duration}
    )
    return environment


_ENVIRONMENT = _environment()

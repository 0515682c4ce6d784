"""Clips that are drawn from a seed, by name: which clip a source means, what it is called, and the clip itself.

A name covers everything that decides how a clip's latents look: the source's settings, the seed, the code that draws,
and the codec. So nothing is drawn twice, and nothing stale is reused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from model.config import DrawnSource, FootageSource, WorldConfig
from storage.content_id import hash_file, identify
from storage.datasets import clip, footage, looks, packages, panorama, shapes, synthetic, wording
from storage.datasets.clip import EditedClip

PAINTERS = (clip, footage, looks, packages, panorama, shapes, synthetic, wording)
"""The modules that decide what is drawn."""


@dataclass(frozen=True)
class Drawing:
    """One clip that can be drawn; `kind` is that of its source, the last three are for footage (`footage_clip`)."""

    kind: str
    wording: wording.Wording
    world: WorldConfig
    seed: int
    versions: int = 2
    recoloured: float = 0.0
    views: int = 2

    def name(self, codec: str) -> str:
        """Of the clip as latents of the codec with this hash."""
        said = {**vars(self), "world": self.world.model_dump(mode="json")}
        return identify({**said, "painters": _painters_hash(), "codec": codec})


def drawings_of(source: DrawnSource) -> Iterator[Drawing]:
    """Every clip of a source."""
    for seed in range(source.first_seed, source.first_seed + source.clips):
        drawing = Drawing(source.kind, source.wording, source.world, seed)
        if isinstance(source, FootageSource):
            drawing = replace(drawing, versions=source.versions, recoloured=source.recoloured, views=source.views)
        yield drawing


def draw_clip(drawing: Drawing, footage_folder: Path) -> EditedClip:
    """The clip, as pictures.

    Raises:
        RunError: footage is not there and could not be downloaded.
    """
    if drawing.kind == "footage":
        looks = drawing.versions, drawing.recoloured, drawing.views
        return footage.footage_clip(drawing.world, drawing.seed, footage_folder, drawing.wording, *looks)
    if drawing.kind == "panorama":
        return panorama.panorama_clip(drawing.world, drawing.seed, drawing.wording)
    return synthetic.training_clip(drawing.world, drawing.seed, drawing.wording)


def painters() -> Mapping[str, str]:
    """The code that draws, by module, as hashes."""
    return {module.__name__: hash_file(Path(str(module.__file__))) for module in PAINTERS}


@cache
def _painters_hash() -> str:
    return identify(painters())

"""Which layout a dataset of edit pairs is of: from its name to a source of pairs."""

from pathlib import Path

from pydantic import ValidationError

from model.config import SyntheticSource
from model.config.base import first_mistake
from model.errors import RequestError
from storage.datasets.multicam import CAMERAS, MultiCam
from storage.datasets.pair_folder import LIST, PairFolder
from storage.datasets.pair_worlds import PairWorlds
from storage.datasets.pairs import PairSource
from storage.datasets.senorita import Senorita
from storage.foreign_text import TextError, parse_yaml, read_text


def open_pairs(place: Path, layout: str, instruction_field: str) -> PairSource:
    """The dataset at a place, of the layout that is said, or, with `auto`, that it looks like.

    `instruction_field` is the one that holds the text in Señorita's lists.

    Raises:
        RequestError: it is not there, or of no layout that is known.
    """
    if not place.exists():
        raise RequestError(f"{place}: no such folder or list; expected a dataset of edit pairs")
    layout = _guess(place) if layout == "auto" else layout
    if layout == "folder":
        return PairFolder(place)
    if layout == "synthetic":
        return _worlds(place)
    if not place.is_dir():
        raise RequestError(f"{place}: expected a folder of the layout {layout}")
    return Senorita(place, instruction_field) if layout == "senorita" else MultiCam(place)


def _guess(place: Path) -> str:
    if place.is_file():
        return "folder" if place.suffix == ".jsonl" else "synthetic"
    if (place / LIST).is_file() or (place / "target").is_dir():
        return "folder"
    if next(place.rglob(CAMERAS), None) is not None:
        return "multicam"
    if next(place.rglob("*.json"), None) is not None:
        return "senorita"
    raise RequestError(
        f"{place}: of no known layout; expected {LIST}, source/ and target/ folders, Señorita's JSON lists, or "
        "MultiCamVideo's scenes"
    )


def _worlds(place: Path) -> PairWorlds:
    """Worlds as a manifest describes them: `{kind: synthetic, clips: 200, world: {...}}`."""
    try:
        source = SyntheticSource.model_validate(parse_yaml(read_text(place))[0])
    except TextError as fault:
        raise RequestError(f"{place}: line {fault.line or 1}: {fault}") from None
    except ValidationError as fault:
        field, what = first_mistake(fault)
        raise RequestError(f"{place}: {field}: {what}; expected {{kind: synthetic, clips: 200}}") from None
    return PairWorlds(source.clips, source.world, source.first_seed, source.wording)

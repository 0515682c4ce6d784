"""A mask makes another video of the same segments, and the video outside of it is the source."""

from pathlib import Path

import numpy as np
import pytest

from flows.edit import EditReport, edit
from model.config import EditRequest
from model.types import Span
from storage.planes import layout_of, read_planes
from storage.probe import probe
from tests.flows.test_edit import request

pytestmark = pytest.mark.usefixtures("cluster")


def masked(film: Path, out: Path, mask: str, **output: object) -> EditRequest:
    asked = request(film, out)
    settings = {"codec": "ffv1", "region": {"mask": mask, "feather": 4}, **output}
    return EditRequest.model_validate(asked.model_dump() | {"output": settings})


@pytest.fixture(scope="module")
def first(film: Path, cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EditReport]:
    out = tmp_path_factory.mktemp("regions")
    return out, edit(request(film, out))


def luma_of(path: Path) -> np.ndarray:
    info = probe(path)
    return np.stack([planes[0] for planes in read_planes(info, Span(0, info.frames), layout_of(info), tone_map=False)])


def test_outside_the_mask_the_video_is_the_source(film: Path, first: tuple[Path, EditReport]) -> None:
    out, whole = first
    report = edit(masked(film, out, "25%,25%,50%,50%", transfer="guided"))
    assert (report.edited, report.reused) == (0, whole.segments)
    assert Path(report.output).stem == "film_edit_v002"
    assert "source&#39;s own pixels" in Path(report.review).read_text()
    before, after = luma_of(film), luma_of(Path(report.output))
    changed = np.flatnonzero((before != after).any(axis=(0, 1))), np.flatnonzero((before != after).any(axis=(0, 2)))
    (height, width), inside = before.shape[1:], (changed[0].min(), changed[0].max(), changed[1].min(), changed[1].max())
    assert width / 4 <= inside[0] <= inside[1] < 3 * width / 4
    assert height / 4 <= inside[2] <= inside[3] < 3 * height / 4
    again = edit(masked(film, out, "25%,25%,50%,50%", transfer="guided"))
    assert again.output == report.output


def test_another_mask_is_another_version(film: Path, first: tuple[Path, EditReport]) -> None:
    out, whole = first
    one, other = (edit(masked(film, out, mask)) for mask in ("0,0,50%,50%", "50%,50%,50%,50%"))
    assert (one.edited, other.edited, other.reused) == (0, 0, whole.segments)
    assert len({whole.output, one.output, other.output}) == 3

"""A dataset to be extended, before any model is loaded: which samples are whose, and what is done."""

import json
from pathlib import Path

import pytest

from model.config import ExtensionRequest
from storage.datasets.extended import pack, write_sample
from storage.datasets.pair_folder import LIST, PairFolder
from tasks.extend import PAGE, ExtendWork, count_others, find_finished
from tests.storage.datasets.test_extended import sample


def work_on(dataset: Path, out: Path) -> ExtendWork:
    """As `describe_extension` has it, of models that are not there."""
    source = PairFolder(dataset)
    request = ExtensionRequest(dataset=dataset, out=out, framepack="none")
    return ExtendWork(request, source, tuple(source.entries()), out, out, "framepack", "codec", out)


def test_other_files_under_one_id_are_another_sample(tmp_path: Path) -> None:
    """Else a target that was put right in the list would be taken for done."""
    pair = {"source": "a.mp4", "target": "b.mp4", "instruction": "swap", "id": "one", "group": "film"}
    changes = ({}, {"target": "new/b.mp4"}, {"source": "new/a.mp4"}, {"end": "b.png"})
    names = []
    for change in changes:
        (tmp_path / LIST).write_text(json.dumps(pair | change))
        names.append(work_on(tmp_path, tmp_path).names["one"])
    assert len(set(names)) == len(changes)


@pytest.mark.parametrize("killed", ["before-the-clearing", "before-the-page", None])
def test_a_run_is_finished_when_it_has_cleared_up_and_has_its_page(killed: str | None, tmp_path: Path) -> None:
    (tmp_path / LIST).write_text(json.dumps({"source": "a.mp4", "target": "b.mp4", "instruction": "swap"}))
    work = work_on(tmp_path, tmp_path / "out")
    (name,) = work.names.values()
    write_sample(work.request.out, name, sample(0))
    assert find_finished(work) is None
    pack(work.request.out, [name], {**work.said, "rejected": {}})
    if killed != "before-the-page":
        (work.request.out / PAGE).touch()
    if killed == "before-the-clearing":
        write_sample(work.request.out, name, sample(0))
    assert (find_finished(work) is None) is (killed is not None)


def test_samples_of_pairs_that_a_list_no_longer_names_are_counted(tmp_path: Path) -> None:
    pair = {"source": "a.mp4", "target": "b.mp4", "instruction": "swap"}
    (tmp_path / LIST).write_text(json.dumps(pair))
    before = work_on(tmp_path, tmp_path / "out")
    (name,) = before.names.values()
    write_sample(before.request.out, name, sample(0))
    pack(before.request.out, [name], {**before.said, "rejected": {}})
    (tmp_path / LIST).write_text(json.dumps(pair | {"target": "c.mp4"}))
    assert [count_others(work) for work in (before, work_on(tmp_path, tmp_path / "out"))] == [0, 1]

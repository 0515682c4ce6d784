"""A dataset to be extended, before any model is loaded: which samples are whose, and what is done."""

import json
from pathlib import Path

from model.config import ExtensionRequest
from storage.datasets.pair_folder import LIST, PairFolder
from tasks.extend import ExtendWork


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

"""Training where there is neither Prefect nor Ray: the recipe's steps where the minutes suffice, fewer where not."""

import json
import os
import subprocess
import sys
from pathlib import Path

from model.editor import MemoryEditor
from tests.training_files import write_files

ROOT = Path(__file__).resolve().parents[2]
BARE = "import sys; sys.modules.update(prefect=None, ray=None)\n"  # importing them fails
TRAIN = f"{BARE}from benchmarks.gpu_training import main\nmain(sys.argv[1:])"


def run_bare(code: str, *arguments: object) -> str:
    """Standard output of a process without Prefect and Ray."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_recipe_is_trained_and_trained_shorter(tmp_path: Path) -> None:
    manifest, config = write_files(tmp_path)
    given = (manifest, "--config", config, "--footage", tmp_path, "--json")
    whole = json.loads(run_bare(TRAIN, *given, "--out", tmp_path / "whole").splitlines()[-1])
    assert (whole["clips"], whole["steps"]) == (6, 40)
    assert json.loads(whole["curve"])["step"] == 40
    assert MemoryEditor.from_pretrained(tmp_path / "whole/model").backbone.patch_pixels
    short = json.loads(run_bare(TRAIN, *given, "--out", tmp_path / "short", "--minutes", "0").splitlines()[-1])
    assert short["steps"] == 1


def test_the_claim_is_measured_there_too() -> None:
    code = "import tasks.proof.verdicts, tasks.proof.showing, benchmarks.consistency\nprint('there')"
    assert run_bare(f"{BARE}{code}") == "there\n"

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
TRAIN = f"{BARE}import json\nfrom benchmarks.gpu_training import main\nfor run in json.loads(sys.argv[1]): main(run)"


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
    given = [str(manifest), "--config", str(config), "--footage", str(tmp_path), "--json"]
    runs = [*given, "--out", str(tmp_path / "whole")], [*given, "--out", str(tmp_path / "short"), "--minutes", "0"]
    lines = run_bare(TRAIN, json.dumps(runs)).splitlines()
    whole, short = [json.loads(line) for line in lines if line.startswith("{")]
    assert (whole["clips"], whole["steps"]) == (6, 40)
    assert json.loads(whole["curve"])["step"] == 40
    assert MemoryEditor.from_pretrained(tmp_path / "whole/model").backbone.patch_pixels
    assert short["steps"] == 1


def test_the_claim_is_measured_there_too() -> None:
    code = "import tasks.proof.verdicts, tasks.proof.showing, benchmarks.consistency\nprint('there')"
    assert run_bare(f"{BARE}{code}") == "there\n"

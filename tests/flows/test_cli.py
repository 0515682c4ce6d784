"""The command line as a user meets it: in a process of its own, or, many times in a row, by its entry point."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main
from flows.environment import user_folder
from storage.store_lock import StoreLock
from tasks.weights import NOVEL_VIEWS, locate_weights
from tests.clips import BAD_INPUTS, make_bad_input
from tests.pair_files import write_senorita
from tests.storage.memories import make_session
from tests.training_files import write_files

Done = subprocess.CompletedProcess[str]

CATALOG = ("build", "validate", "plan", "run", "status", "retry", "cancel", "report")
COMMANDS = (
    *("edit", "view", "evaluate", "train", "extend", "deliver", "doctor", "serve", "camera plot", "camera list"),
    *(f"catalog {verb}" for verb in CATALOG),
)
OBEYING = ("unreadable", "read-only")  # met in a process of its own, which permissions bind
OBEDIENT = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")  # a superuser whom permissions bind


def run(*words: str | Path, cwd: Path | None = None) -> Done:
    command = [sys.executable, "-m", "flows.cli", *map(str, words)]
    if os.geteuid() == 0 and shutil.which(OBEDIENT[0]):
        command = [*OBEDIENT, *command]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def start(*words: str | Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """A command that is not waited for."""
    command = [sys.executable, "-m", "flows.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The entry point in this process: a second where a process of its own takes many, on a busy machine."""

    def call(*words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["memory-v2v", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        return subprocess.CompletedProcess(words, int(end.value.code or 0), said.out, said.err)

    return call


def error_line(done: Done) -> str:
    """The one line on standard error, which is all that a user's mistake may cause."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, call: Callable[..., Done]) -> None:
    done = call(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: memory-v2v {command}" in " ".join(done.stdout.split())


def test_options_of_edit_are_frozen(call: Callable[..., Done]) -> None:
    """A new option is a decision; add it here when it is one."""
    text = call("edit", "--help").stdout
    found = sorted({word.strip(",") for word in text.split() if word.startswith("--")})
    assert found == sorted(
        [
            "--prompt",
            "--out",
            "--weights",
            "--descriptor",
            "--session",
            "--on",
            "--frames",
            "--overlap",
            "--size",
            "--top-k",
            "--steps",
            "--guidance",
            "--seed",
            "--codec",
            "--tone-map",
            "--mask",
            "--feather",
            "--keep-unchanged",
            "--transfer",
            "--schedule",
            "--editors",
            "--gate",
            "--device",
            "--speed",
            "--quantize",
            "--memory",
            "--wait",
            "--json",
            "--verbose",
            "--help",
        ]
    )


def test_options_of_view_are_frozen(call: Callable[..., Done]) -> None:
    text = call("view", "--help").stdout
    found = {word.strip(",") for word in text.split() if word.startswith("--")}
    shared = "--out --weights --session --frames --overlap --size --top-k --steps --guidance --seed --codec --tone-map"
    own = "--camera --instruction --recall --coverage --chain --fov --scale --device --wait --json --verbose --help"
    assert found == {*shared.split(), *own.split(), "--memory", "--speed", "--quantize", "--schedule", "--editors"}


def test_options_of_evaluate_are_frozen(call: Callable[..., Done]) -> None:
    text = call("evaluate", "--help").stdout
    found = {word.strip(",") for word in text.split() if word.startswith("--")}
    told = (
        "--session --against --against-session --source --instruments --out --workers --device --json --verbose --help"
    )
    assert found == set(told.split())


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_bad_input_is_one_clear_line(kind: str, call: Callable[..., Done], tmp_path: Path) -> None:
    video = make_bad_input(kind, tmp_path)
    out = tmp_path / "out"
    meet = run if kind in OBEYING else call
    done = meet("edit", video, "--prompt", "make it night", "--out", out, "--json")
    line = error_line(done)
    assert done.returncode == 2
    assert video.name in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--frames", "80"], "80"),
        (["--overlap", "60"], "overlap"),
        (["--size", "big"], "--size"),
        (["--editors", "2"], "editors 2: a sequential schedule keeps one of them busy; add --schedule auto"),
        (["--size", "65x64"], "window.width 65"),
        (["--size", "100x64"], "100x64: this model needs multiples of 8, such as 96x64"),
        (["--weights", "/nowhere/model"], "/nowhere/model"),
        (["--codec", "vp8"], "codec"),
        (["--top-k", "-1"], "top_k"),
        (["--session", "../x"], "session"),
        (["--on", "1"], "session"),
        (["--on", "first"], "--on first"),
        (["--on", "last", "--session", "film"], "--on last"),
        (["--device", "cuda"], "cuda"),
        (["--descriptor", "/nowhere/dino"], "/nowhere/dino"),
        (["--seed", "-1"], "seed"),
        (["--steps", "0"], "steps"),
        (["--mask", "nowhere.png"], "--mask nowhere.png: does not exist; expected X,Y,W,H"),
        (["--mask", "tests/clips.py"], "not a video of an accepted kind"),
        (["--mask", "tests"], "is a folder"),
        (["--mask", "examples/clip.mp4"], "frames, garden.mp4 has 128"),
        (["--mask", "90%,0,20%,50%"], "leaves the picture"),
        (["--mask", "10,10,0,5"], "marks nothing"),
        (["--feather", "3"], "feather 3 softens the edge of a mask"),
        (["--transfer", "magic"], "transfer"),
        (["--speed", "quick"], "speed 'quick': expected plain, exact, fast"),
        (["--quantize", "int4"], "quantize 'int4'"),
        pytest.param(
            ["--quantize", "int8"],
            "torchao is not installed",
            marks=pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is installed"),
        ),
    ],
)
def test_bad_option_is_one_clear_line(
    options: list[str], named: str, call: Callable[..., Done], tmp_path: Path
) -> None:
    clip = Path("tests/garden.mp4").resolve()
    done = call("edit", clip, "--prompt", "make it night", "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert named in error_line(done)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--camera"),
        (["--camera", "pan-sideways"], "'pan-sideways'"),
        (["--camera", "nowhere.json"], "nowhere.json"),
        (["--camera", "pan-left", "--top-k", "-1"], "top_k"),
        (["--camera", "pan-left", "--recall", "luck"], "recall"),
        (["--camera", "pan-left", "--fov", "180"], "fov"),
        (["--camera", "pan-left", "--editors", "2"], "editors 2: a sequential schedule keeps one of them busy"),
        (["--camera", "pan-left", "--schedule", "backwards"], "schedule 'backwards'"),
        (["--camera", "pan-left", "--size", "72x64"], "72x64: this model needs multiples of 16, such as 64x64"),
        (["--camera", "pan-left", "--weights", "demo"], "memory-v2v edit"),
        (["--camera", "pan-left", "--weights", "demo-absent"], "'untrained'"),
    ],
)
def test_a_bad_view_is_one_clear_line(
    options: list[str], named: str, call: Callable[..., Done], tmp_path: Path
) -> None:
    clip = Path("tests/garden.mp4").resolve()
    weights = [] if "--weights" in options else ["--weights", "untrained"]
    done = call("view", clip, *options, *weights, "--out", tmp_path / "out", "--json")
    assert done.returncode == 2
    assert named in error_line(done)
    assert not (tmp_path / "out").exists()


def test_a_model_of_views_does_not_edit(call: Callable[..., Done], tmp_path: Path) -> None:
    folder = locate_weights("untrained", user_folder("cache"), NOVEL_VIEWS)
    options = ["--prompt", "make it night", "--weights", folder, "--out", tmp_path / "out"]
    done = call("edit", Path("tests/garden.mp4").resolve(), *options)
    assert done.returncode == 2
    assert "memory-v2v view" in error_line(done)


@pytest.mark.parametrize("kind", ["a file", "below a file", "read-only", "too long"])
def test_an_output_folder_that_cannot_be_is_one_clear_line(
    kind: str, call: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "locked").mkdir(mode=0o555)
    names = {"a file": "file", "below a file": "file/out", "read-only": "locked/out", "too long": 300 * "x"}
    clip = Path("tests/garden.mp4").resolve()
    meet = run if kind in OBEYING else call
    done = meet("edit", clip, "--prompt", "make it night", "--out", tmp_path / names[kind], "--json")
    assert done.returncode == 2
    assert names[kind] in error_line(done)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "locked"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("session import", "Folder to import into"),
        ("train", "Show the flow's log. "),
        ("train", "--out out/train-demo"),
        ("extend", "Show the flow's log. "),
        ("edit", "Show the flow's log, with the memories recalled."),
        ("view", "each is a turn. [required]"),
        ("catalog retry", "so it is without, too"),
    ],
)
def test_help_says_what_is_so(command: str, told: str, call: Callable[..., Done]) -> None:
    assert told in " ".join(call(*command.split(), "--help").stdout.split())


SESSION_COMMANDS = ("list", "show", "branch", "delete", "export", "import", "gc")


@pytest.mark.parametrize("command", SESSION_COMMANDS)
def test_help_of_session_commands_shows_an_example(command: str, call: Callable[..., Done]) -> None:
    done = call("session", command, "--help")
    assert done.returncode == 0
    assert f"Example: memory-v2v session {command}" in " ".join(done.stdout.split())


def test_the_commands_of_sessions_from_end_to_end(call: Callable[..., Done], tmp_path: Path) -> None:
    """Each with --json: one object on the last line of standard output."""
    here, there, archive = make_session(tmp_path / "here"), tmp_path / "there", tmp_path / "film.zip"

    def told(*words: str | Path, out: Path = here) -> dict[str, Any]:
        done = call("session", *words, "--out", out, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert [session["turns"] for session in told("list")["sessions"]] == [3]
    shown = told("show", "film", "--turn", "2")["turns"]
    assert [turn["number"] for turn in shown] == [2]
    recalled = shown[0]["segments"][1]["recalled"]
    assert [(memory["turn"], memory["segment"], memory["reason"]) for memory in recalled] == [(1, 0, "similar")]
    assert told("branch", "film", "--from", "2", "--as", "blue")["turns"] == 2
    assert told("export", "blue", archive)["bytes"] == archive.stat().st_size
    assert told("import", archive, out=there) == {"session": "blue", "turns": 2, "memories": 4, "files": 6}
    assert told("import", archive, out=there) == {"session": "blue", "turns": 0, "memories": 0, "files": 0}
    assert told("delete", "film", "--yes")["segments"] == 2, "those of turn 3, which blue does not share"
    assert told("gc", "--dry-run")["freed_bytes"] == 0
    assert told("gc") | {"freed_bytes": 0} == told("gc", "--dry-run") | {"dry_run": False}
    assert [session["name"] for session in told("list")["sessions"]] == ["blue"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["show", "nofilm"], "nofilm: no such session"),
        (["show", "film", "--turn", "9"], "has no turn 9"),
        (["branch", "film", "--from", "4", "--as", "blue"], "has no turn 4"),
        (["branch", "film", "--from", "1", "--as", "../x"], "no name for a session"),
        (["branch", "film", "--from", "1", "--as", "film"], "the name is taken"),
        (["delete", "film", "--turn", "2", "--yes"], "turn 3 of film edits its result"),
        (["delete", "film", "--turn", "1", "--yes"], "turn 2 of film recalled it in 2 segments (0, 1)"),
        (["delete", "film"], "add --yes"),
        (["export", "film", "/nowhere/film.zip"], "cannot be written"),
        (["import", "/nowhere/film.zip"], "no such file"),
    ],
)
def test_a_bad_session_command_is_one_clear_line(
    words: list[str], named: str, call: Callable[..., Done], tmp_path: Path
) -> None:
    folder = make_session(tmp_path)
    before = sorted(path for path in folder.iterdir())
    done = call("session", *words, "--out", folder)
    assert done.returncode == 2
    assert named in error_line(done)
    assert [path for path in sorted(folder.iterdir()) if path.name != "store.lock"] == [
        path for path in before if path.name != "store.lock"
    ]


def test_force_says_what_is_lost(call: Callable[..., Done], tmp_path: Path) -> None:
    folder = make_session(tmp_path)
    done = call("session", "delete", "film", "--turn", "1", "--force", "--yes", "--out", folder)
    assert done.returncode == 0
    assert "can no longer be replayed: turn 2 of film recalled it in 2 segments (0, 1)" in done.stdout


@pytest.mark.parametrize("words", [["gc"], ["delete", "film", "--yes"], ["export", "film", "x.zip"]])
def test_two_commands_at_once_are_told(words: list[str], call: Callable[..., Done], tmp_path: Path) -> None:
    folder = make_session(tmp_path)
    with StoreLock(folder):
        done = call("session", *words, "--out", folder)
    assert done.returncode == 1
    assert f"process {os.getpid()} is writing to it" in error_line(done)


def test_doctor_reports_everything() -> None:
    done = run("doctor", "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["ready"] is (done.returncode == 0)
    assert {finding["name"] for finding in report["findings"]} >= {"python", "ffmpeg", "pyav", "gpu", "weights", "disk"}


def test_doctor_says_what_is_missing(call: Callable[..., Done], tmp_path: Path) -> None:
    done = call("doctor", "--weights", tmp_path / "absent", "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert report["missing"] == ["weights"]


def test_options_of_train_are_frozen(call: Callable[..., Done]) -> None:
    text = call("train", "--help").stdout
    found = sorted({word.strip(",") for word in text.split() if word.startswith("--")})
    assert found == sorted(["--config", "--out", "--json", "--verbose", "--help"])


def test_options_of_deliver_are_frozen(call: Callable[..., Done]) -> None:
    text = call("deliver", "--help").stdout
    found = {word.strip(",") for word in text.split() if word.startswith("--")}
    own = "--to --video --session --turn --task --name --source --verify --json --help"
    assert found == {*own.split()}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "give a FOLDER"),
        (["here"], "give a FOLDER"),
        (["nowhere", "--to", "to"], "nowhere: holds no sessions; give the --out of memory-v2v edit or view"),
        (["here", "--to", "to", "--turn", "9"], "turn 9 is not finished"),
        (["here", "--to", "to", "--video", "other"], "no finished video other"),
        (["here", "--to", "to", "--name", "..."], "--name"),
        (["here", "--to", "to", "--name", "film", "--source", "gone.mp4"], "gone.mp4"),
        (["--verify", "here"], "here: no delivery"),
        (["--verify", "nowhere"], "nowhere: no delivery"),
    ],
)
def test_a_bad_delivery_is_one_clear_line(
    words: list[str], named: str, call: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_session(Path("here"))
    done = call("deliver", *words, "--json")
    assert done.returncode == 2
    assert named in error_line(done)
    assert {path.name for path in tmp_path.iterdir()} == {"here"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--framepack", "/nowhere/framepack"], "/nowhere/framepack"),
        (["--framepack", "untrained", "--clip-frames", "32"], "clip_frames"),
        (["--framepack", "untrained", "--size", "65x64"], "width 65"),
        (["--framepack", "untrained", "--layout", "tar"], "layout"),
        (["--framepack", "untrained", "--segment-frames", "37"], "segment_frames 37"),
    ],
)
def test_a_bad_extension_is_one_clear_line(
    options: list[str], named: str, call: Callable[..., Done], tmp_path: Path
) -> None:
    dataset = write_senorita(tmp_path / "pairs", 1)
    field = ["--instruction-field", "enhanced_instruction"]
    done = call("extend", dataset, "--out", tmp_path / "out", *field, *options, "--json")
    assert done.returncode == 2
    assert named in error_line(done)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("clips: 6", "clips: many", "line 3: training.0.clips 'many'"),
        ("kind: synthetic", "kind: film", "training.0"),
    ],
)
def test_a_bad_manifest_is_one_clear_line(
    before: str, after: str, named: str, call: Callable[..., Done], tmp_path: Path
) -> None:
    manifest, config = write_files(tmp_path)
    manifest.write_text(manifest.read_text().replace(before, after, 1))
    done = call("train", manifest, "--config", config, "--out", tmp_path / "out", "--json")
    assert done.returncode == 2
    assert named in error_line(done)
    assert not (tmp_path / "out").exists()


def test_a_catalog_from_the_command_line(
    call: Callable[..., Done], cluster: None, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder becomes a manifest, a plan, results and a report; what a program reads is one object each time."""
    (tmp_path / "footage").mkdir()
    for name in ("one.mp4", "two words.mp4"):
        shutil.copy(film, tmp_path / "footage" / name)
    manifest, out = Path("catalog.jsonl"), Path("out")
    monkeypatch.chdir(tmp_path)

    def told(*words: str | Path, code: int = 0) -> dict[str, Any]:
        done = call("catalog", *words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert told("build", tmp_path / "footage", "--prompt", "make it night", "--out", manifest)["videos"] == 2
    assert told("validate", manifest) == {"valid": True, "faults": []}
    settings = ("--out", out, "--weights", "rehearsal:0.011", "--editors", "2")  # which no other test has measured
    plan = told("plan", manifest, *settings)
    assert (plan["videos"], plan["left"], plan["measured"]) == (2, plan["segments"], False)
    done = told("run", manifest, *settings)
    assert done["videos"] == {"done": 2, "partial": 0, "failed": 0, "skipped": 0}
    assert done["segments"] == {"edited": plan["segments"], "reused": 0, "quarantined": 0}
    assert 0 < done["editor_utilisation"] <= 1
    assert 0 < done["overhead_p50_ms"] <= done["overhead_p95_ms"]
    again = json.loads(Path("out/.catalog/request.json").read_text())
    assert Path(again["manifest"]) == tmp_path / manifest, "it is run again from anywhere"
    status = told("status", out)
    assert (status["running"], status["counts"]["done"]) == ([], 2)
    assert told("retry", out, "--failed") == told("retry", out) == {"videos": {}, "segments": {}}
    assert call("catalog", "retry", out, "--failed").stdout.strip().endswith("there is nothing to run again")
    assert told("cancel", out) == {"ended": []}
    table = tmp_path / "videos.csv"
    assert told("report", out, "--csv", table)["videos"]["done"] == 2
    assert "--csv" in error_line(call("catalog", "report", out, "--csv", "gone/videos.csv"))
    assert len(table.read_text().splitlines()) == 3
    delivered = call("deliver", out, "--to", "sent", "--source", "footage", "--json")
    assert delivered.returncode == 0, delivered.stderr
    typo = call("deliver", out, "--to", "sent", "--video", "tree")
    assert (typo.returncode, "no video tree to deliver; there are one" in error_line(typo)) == (2, True)
    names = [one["name"] for one in json.loads(delivered.stdout)["deliveries"]]
    assert names == ["one_edit_v001", "two-words_edit_v001"], "by the ids of the manifest"
    checked = json.loads(call("deliver", "--verify", "sent", "--json").stdout)
    assert checked == {"deliveries": 2, "files": 14, "faults": []}


def test_faults_of_a_manifest_are_all_told_by_line_and_field(call: Callable[..., Done], tmp_path: Path) -> None:
    manifest = tmp_path / "catalog.jsonl"
    manifest.write_text('{"video_id": "a", "uri": "gone.mp4", "turns": [{"prompt": ""}]}\n{"video_id": "a b"}\n')
    done = call("catalog", "validate", manifest, "--json")
    found = json.loads(done.stdout)["faults"]
    assert done.returncode == 2
    assert {(fault["line"], fault["field"]) for fault in found} >= {(1, "turns.0.prompt"), (1, "uri"), (2, "video_id")}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "gone.jsonl"], "gone.jsonl"),
        (["plan", "bad.jsonl"], "catalog validate"),
        (["run", "good.jsonl", "--weights", "/nowhere/model"], "/nowhere/model"),
        (["run", "good.jsonl", "--only", "other"], "other"),
        (["run", "good.jsonl", "--shard", "3/2"], "3/2"),
        (["run", "good.jsonl", "--shard", "half"], "--shard"),
        (["status", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["cancel", "nowhere"], "nowhere"),
        (["retry", "nowhere", "--failed"], "nowhere"),
        (["retry", "nowhere"], "nowhere: no catalog was run there"),
        (["report", "nowhere", "--csv", "gone/videos.csv"], "--csv gone/videos.csv: expected a file in a folder"),
        (["build", "nowhere"], "nowhere"),
    ],
)
def test_a_bad_catalog_command_is_one_clear_line(
    words: list[str], named: str, call: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.jsonl").write_text('{"video_id": "a", "uri": "a.mp4", "turns": [{"prompt": "make it night"}]}\n')
    Path("bad.jsonl").write_text("{}\n")
    done = call("catalog", *words, "--json")
    assert done.returncode == 2
    assert named in error_line(done)
    assert {path.name for path in tmp_path.iterdir()} == {"good.jsonl", "bad.jsonl"}

"""The command on a review page asks for exactly what was asked."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from flows import cli, edit, novel_views
from model.backbones.model_folder import read_preset
from model.config import EditConfig, EditRequest, MergeConfig, OutputConfig, SpeedConfig, VideoRequest, ViewRequest
from tasks.replay import replay
from tasks.weights import BUNDLED

HOSTILE = "make it `night`; rm -rf $HOME 'now' \"--out\"\nand --quiet"


class AskedError(Exception):
    """In place of the run: what it was asked for."""


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command line asks for, without running it."""

    def stop(asked: VideoRequest) -> None:
        raise AskedError(asked)

    monkeypatch.setattr(edit, "edit", stop)
    monkeypatch.setattr(novel_views, "view", stop)
    monkeypatch.setattr("flows.request.require_torchao", lambda kind: None)  # nothing is run

    def ask(*words: str) -> VideoRequest:
        with pytest.raises(AskedError) as caught:
            cli.app([*words], standalone_mode=False)
        return caught.value.args[0]

    return ask


EDITS = [
    ["edit", "clip.mp4", "--prompt", "make it night"],
    ["edit", "a b's.mp4", f"--prompt={HOSTILE}", "--session", "s", "--seed", "7", "--top-k", "2", "--guidance", "3"],
    ["edit", "clip.mp4", "--prompt", "-x", "--size", "96x64", "--frames", "9", "--overlap", "0", "--steps", "3"],
    ["edit", "c.mp4", "--prompt", "x", "--codec", "ffv1", "--tone-map", "--schedule", "auto", "--editors", "2"],
    ["edit", "c.mp4", "--prompt", "x", "--mask", "1,2,30%,40%", "--feather", "3.5", "--transfer", "guided"],
    ["edit", "c.mp4", "--prompt", "x", "--keep-unchanged"],
    ["edit", "c.mp4", "--prompt", "x", "--speed", "fast", "--quantize", "int8"],
]
VIEWS = [
    ["view", "clip.mp4", "--camera", "pan-left", "--camera", "pan right 20deg, then dolly in 1m"],
    [
        "view",
        "c.mp4",
        "--camera",
        "pan-left",
        "--recall",
        "none",
        "--chain",
        "--coverage",
        "--fov",
        "50",
        "--scale",
        "2",
    ],
    ["view", "c.mp4", "--camera", "pan-left", "--schedule", "anchors:3", "--editors", "2"],
]


@pytest.mark.parametrize("words", [*EDITS, *VIEWS])
def test_the_command_asks_for_the_same(words: list[str], ask: Any) -> None:
    asked = ask(*words)
    again = replay(asked, read_preset(Path(asked.weights)))
    name, *typed = shlex.split(again.command)
    assert name == "memory-v2v"
    assert again.unsaid == ()
    absolute = {"video": asked.video.absolute(), "out": asked.out.absolute()}
    assert ask(*typed) == asked.model_copy(update=absolute)


def test_what_no_option_names_is_named_beside_the_command() -> None:
    preset = read_preset(BUNDLED / "demo")
    settings = preset.edit.model_copy(update={"attention": "cached", "merging": MergeConfig(mode="off")})
    request = EditRequest(
        video=Path("clip.mp4"),
        out=Path("out"),
        weights=str(BUNDLED / "demo"),
        instruction="make it night",
        session="s",
        on="last",
        window=preset.window,
        retrieval=preset.retrieval,
        edit=settings,
    )
    again = replay(request, preset, edits=3)
    assert again.unsaid == ("edit.merging.mode", "edit.merging.blocks", "edit.attention")
    assert "--on 3" in again.command, "the turn that was the last one then"
    quicker = request.model_copy(update={"speed": SpeedConfig(forecast=0.03, quantize="fp8")})
    assert replay(quicker, preset).unsaid[-1] == "speed.forecast"
    assert "--quantize fp8" in replay(quicker, preset).command
    scales = settings.sampling.model_copy(update={"guidance": 4.0, "first_guidance": 2.0})
    other = request.model_copy(update={"edit": preset.edit.model_copy(update={"sampling": scales})})
    assert replay(other, preset).unsaid == ("edit.sampling.guidance",)
    assert "--guidance" not in replay(other, preset).command
    bold = OutputConfig.model_validate({"region": {"keep_unchanged": True, "threshold": 0.2}})
    assert replay(request.model_copy(update={"output": bold}), preset).unsaid[-1] == "output.region.threshold"


def test_a_camera_that_is_a_file_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("path.json").write_text("{}")
    request = ViewRequest(
        video=Path("v.mp4"), out=Path(), weights="w", cameras=("path.json", "x" * 300), edit=EditConfig()
    )
    words = shlex.split(replay(request, read_preset(BUNDLED / "demo-views")).command)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--camera"] == [
        str(tmp_path / "path.json"),
        "x" * 300,
    ]

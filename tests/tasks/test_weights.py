"""Finding models by name."""

import json
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import close_session

from flows.environment import user_folder
from model.backbones.model_folder import read_preset
from model.config import PRESET_FILE, WindowConfig
from model.errors import RequestError, WeightsError
from model.rehearsal import write_rehearsal
from storage.datasets.manifest import read_run_config
from tasks import weights
from tasks.weights import (
    NOVEL_VIEWS,
    TEXT_EDITS,
    UNTRAINED,
    from_anywhere,
    locate_descriptor,
    locate_weights,
    require_kind,
    require_size,
)

DEMO = Path(__file__).parents[2] / "checkpoints/demo"


def test_untrained_is_built_once(tmp_path: Path) -> None:
    folder = locate_weights(UNTRAINED, tmp_path)
    built = (folder / "model_index.json").stat().st_mtime_ns
    assert locate_weights(UNTRAINED, tmp_path) == folder
    assert (folder / "model_index.json").stat().st_mtime_ns == built
    assert read_preset(folder).window.frames < 81


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "/nowhere/at/all", "a/b/c", "~nobody/model"])
def test_missing_folder_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such model folder"):
        locate_weights(name, tmp_path)


def test_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_index\.json"):
        locate_weights(str(tmp_path), tmp_path)


def test_a_model_is_named_so_that_it_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder beside one that has the name of a bundled model is not what that name means."""
    monkeypatch.chdir(tmp_path)
    for name in ("lucy", "demo"):
        (tmp_path / name).mkdir()
    assert from_anywhere("lucy") == str(tmp_path / "lucy")
    for name in ("demo", "untrained", "thumbnail", "rehearsal:2", "owner/lucy", "gone"):
        assert from_anywhere(name) == name


def test_unreachable_hub_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="owner/absent-model: no such folder here") as caught:
        locate_weights("owner/absent-model", tmp_path)
    assert "\n" not in str(caught.value)


class Refusing(BaseHTTPRequestHandler):
    """A proxy that lets nobody through."""

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def log_message(self, format: str, *arguments: object) -> None:
        return


def test_a_proxy_that_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as proxy:
        Thread(target=proxy.serve_forever, daemon=True).start()
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        close_session()  # the hub's client reads its proxy once
        try:
            with pytest.raises(WeightsError, match="owner/absent-model: no such folder here"):
                locate_weights("owner/absent-model", tmp_path)
        finally:
            close_session()
            proxy.shutdown()


def test_preset_of_a_plain_folder_is_the_published_one(tmp_path: Path) -> None:
    assert read_preset(tmp_path).window.frames == 81


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"name": "x", "unknown": 1})])
def test_bad_preset_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / PRESET_FILE).write_text(content)
    with pytest.raises(WeightsError, match=PRESET_FILE):
        read_preset(tmp_path)


def test_bundled_models_go_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    (tmp_path / "small").mkdir()
    with pytest.raises(WeightsError, match="no such model folder"):
        locate_weights("small", tmp_path)
    (tmp_path / "small" / "model_index.json").touch()
    assert locate_weights("small", tmp_path) == tmp_path / "small"
    with pytest.raises(WeightsError):
        locate_weights("../small", tmp_path / "small")


@pytest.mark.parametrize("name", ["demo", "demo-views"])
def test_an_installation_without_the_demo_says_why(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "BUNDLED", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=f"^{name}: comes with a checkout of the project"):
        locate_weights(name, tmp_path)


def test_descriptors_are_found_like_models(tmp_path: Path) -> None:
    assert locate_descriptor("thumbnail") == "thumbnail"
    with pytest.raises(WeightsError, match=r"config\.json"):
        locate_descriptor(str(tmp_path))
    (tmp_path / "config.json").touch()
    assert locate_descriptor(str(tmp_path)) == str(tmp_path)
    with pytest.raises(WeightsError, match="expected a DINOv2 folder"):
        locate_descriptor(str(tmp_path / "absent"))


def test_untrained_is_of_the_kind_that_is_needed() -> None:
    for kind, other in ((TEXT_EDITS, NOVEL_VIEWS), (NOVEL_VIEWS, TEXT_EDITS)):
        folder = locate_weights(UNTRAINED, user_folder("cache"), kind)
        require_kind(folder, kind)
        with pytest.raises(WeightsError, match=f"use it with memory-v2v {kind.command}"):
            require_kind(folder, other)


def test_a_size_that_a_model_does_not_take_is_named_with_one_that_it_takes(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^100x62: this model needs multiples of 8, such as 96x56$"):
        require_size(DEMO, WindowConfig(width=100, height=62))
    require_size(DEMO, WindowConfig(width=96, height=56))
    write_rehearsal(tmp_path, 1.0)
    require_size(tmp_path, WindowConfig(width=100, height=62))


@pytest.mark.parametrize(
    "config", ["{", "[]", '{"patch_size": 2}', '{"patch_size": [1, "2", 2]}', '{"patch_size": [1, 0, 2]}']
)
def test_a_model_that_tells_nonsense_of_its_tokens_is_refused(config: str, tmp_path: Path) -> None:
    for part, told in (("vae", "{}"), ("transformer", config)):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(told)
    with pytest.raises(WeightsError, match=re.escape(str(tmp_path))):
        require_size(tmp_path, WindowConfig())


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"_class_name": "FluxPipeline"}'])
def test_a_model_of_no_known_kind_is_refused(index: str, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(WeightsError, match="ReCamMaster-like") as caught:
        require_kind(tmp_path, NOVEL_VIEWS)
    assert str(tmp_path) in str(caught.value)


def test_the_demo_is_used_as_its_recipe_leaves_it() -> None:
    config = read_run_config(DEMO / "training.yaml")
    tokens, mix = config.preset.edit.tokens, config.training.mix
    assert config.preset == read_preset(DEMO)
    assert mix.patches == (tokens.fine_patch, tokens.coarse_patch)

"""What is deployed stands in prefect.yaml, and its form explains itself."""

from importlib import import_module
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from flows.deployments import SETTINGS, choose_nightly, describe_hours, read_deployments
from flows.request import speed_of
from model.errors import InputError, RequestError, RunError
from tasks.weights import BUNDLED

SETTINGS_FOR_CATALOG: dict[str, Any] = {
    "defaults": None,
    "out": Path("edited"),
    "memory": None,
    "weights": "demo",
    "descriptor": "thumbnail",
    "editors": 2,
    "max_failed_fraction": 0.05,
    "device": "auto",
    "speed": speed_of("exact", "none"),
}
LINE = '{"video_id": "one", "uri": "one.mp4", "turns": [{"prompt": "make it night"}]}\n'
WITH_A_CATALOG = """\
deployments:
  - name: edit-catalog
    description: Every night.
    entrypoint: flows/edit.py:edit_video
    schedules: [{slug: nightly, cron: "0 18 * * *", timezone: UTC, active: false}]
"""


def entries() -> list[dict[str, Any]]:
    return yaml.safe_load(SETTINGS.read_text())["deployments"]


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings whose catalog is another flow, beside a manifest, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("catalog.jsonl").write_text(LINE)
    path = tmp_path / "prefect.yaml"
    path.write_text(WITH_A_CATALOG)
    return path


def test_serve_deploys_what_the_file_says() -> None:
    deployments = {deployment.name: deployment for deployment in read_deployments(None)}
    assert list(deployments) == [entry["name"] for entry in entries()]
    for entry in entries():
        made = deployments[entry["name"]]
        assert made.flow_name == entry["name"]
        assert made.description == entry["description"]
        assert made.concurrency_limit is None, "a run with a lease ends when the server is started anew"
        assert "concurrency_limit" not in entry, "nor by `prefect deploy`"
        assert not made.schedules
        assert made.work_pool_name is None


def described(schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Whether a person who fills in the form is told what a field is; a group may say so in its own docstring."""
    groups = [part["$ref"].rsplit("/", 1)[1] for part in [schema, *schema.get("anyOf", [])] if "$ref" in part]
    return bool(schema.get("description")) or any(definitions[group].get("description") for group in groups)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry["name"])
def test_the_form_explains_every_field_that_a_run_needs(entry: dict[str, Any]) -> None:
    from prefect.utilities.callables import parameter_schema

    file, _, name = entry["entrypoint"].partition(":")
    flow = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
    schema = parameter_schema(flow).model_dump()
    definitions = schema["definitions"]
    fields = {("", name): field for name, field in schema["properties"].items()}
    for group in (field["$ref"].rsplit("/", 1)[1] for field in schema["properties"].values() if "$ref" in field):
        fields |= {(group, name): field for name, field in definitions[group]["properties"].items()}
    assert [where for where, field in fields.items() if not described(field, definitions)] == []


def test_nothing_happens_at_night_unless_a_manifest_is_named(catalog: Path) -> None:
    (made,) = read_deployments(None, catalog)
    assert not made.schedules
    assert describe_hours([made]) is None


def test_a_catalog_runs_at_the_hour_of_the_file_or_of_the_operator(catalog: Path) -> None:
    usual = choose_nightly(Path("catalog.jsonl"), SETTINGS_FOR_CATALOG, None, None)
    assert describe_hours(read_deployments(usual, catalog)) == "edit-catalog at 0 18 * * * UTC"
    named = choose_nightly(Path("catalog.jsonl"), SETTINGS_FOR_CATALOG, "7:05", "Europe/Berlin")
    deployments = read_deployments(named, catalog)
    assert describe_hours(deployments) == "edit-catalog at 5 7 * * * Europe/Berlin"
    (hour,) = deployments[0].schedules or ()
    assert hour.parameters["request"] == {
        "manifest": str(catalog.with_name("catalog.jsonl")),
        "out": str(catalog.with_name("edited")),
        "defaults": None,
        "memory": None,
        "weights": "demo",
        "descriptor": "thumbnail",
        "editors": 2,
        "max_failed_fraction": 0.05,
        "device": "auto",
        "speed": speed_of("exact", "none").model_dump(mode="json", exclude_unset=True),
    }


def test_a_night_finds_its_model_wherever_it_is_run(catalog: Path) -> None:
    """It is run by another process, in whatever folder that stands."""
    copytree(BUNDLED / "demo", "mine")
    nightly = choose_nightly(Path("catalog.jsonl"), SETTINGS_FOR_CATALOG | {"weights": "mine"}, None, None)
    assert nightly is not None
    assert nightly.request.weights == str(catalog.with_name("mine"))


@pytest.mark.parametrize(
    ("manifest", "at", "timezone", "told"),
    [
        ("missing.jsonl", None, None, "--nightly missing.jsonl: no such file"),
        ("catalog.jsonl", "24:00", None, "--at 24:00: expected an hour such as 18:00"),
        ("catalog.jsonl", "6 pm", None, "--at 6 pm"),
        ("catalog.jsonl", None, "Berlin", "--timezone Berlin: no such time zone"),
        ("catalog.jsonl", None, "../etc/passwd", "--timezone ../etc/passwd"),
    ],
)
def test_a_night_that_cannot_be_is_refused(
    catalog: Path, manifest: str, at: str | None, timezone: str | None, told: str
) -> None:
    with pytest.raises(RequestError, match=told):
        choose_nightly(Path(manifest), SETTINGS_FOR_CATALOG, at, timezone)


def test_a_setting_of_the_night_that_cannot_be_is_refused(catalog: Path) -> None:
    with pytest.raises(RequestError, match="device 'gpu'"):
        choose_nightly(Path("catalog.jsonl"), SETTINGS_FOR_CATALOG | {"device": "gpu"}, None, None)


@pytest.mark.parametrize(
    ("settings", "line", "told"),
    [
        ({"weights": "./typo"}, LINE, r"\./typo: no such model folder"),
        ({}, LINE.replace("uri", "url"), r"catalog\.jsonl.*ur[il]"),
        ({"defaults": Path("missing.yaml")}, LINE, r"missing\.yaml"),
        ({"out": Path("catalog.jsonl/out")}, LINE, r"catalog\.jsonl"),
        ({"memory": "/mnt/memory"}, LINE, r"--memory /mnt/memory: expected s3://bucket/prefix"),
    ],
)
def test_a_night_that_would_fail_in_the_evening_is_refused_at_once(
    catalog: Path, settings: dict[str, Any], line: str, told: str
) -> None:
    Path("catalog.jsonl").write_text(line)
    with pytest.raises(InputError, match=told):
        choose_nightly(Path("catalog.jsonl"), SETTINGS_FOR_CATALOG | settings, None, None)


@pytest.mark.parametrize(
    ("at", "timezone", "settings", "told"),
    [
        ("7:05", None, {}, "--at 7:05"),
        (None, "Asia/Tokyo", {}, "--timezone Asia/Tokyo"),
        (None, None, {"defaults": Path("defaults.yaml")}, r"--defaults defaults\.yaml"),
    ],
)
def test_what_is_said_of_no_catalog_is_refused(
    at: str | None, timezone: str | None, settings: dict[str, Any], told: str
) -> None:
    assert choose_nightly(None, SETTINGS_FOR_CATALOG, None, None) is None
    with pytest.raises(RequestError, match=f"{told}: .*--nightly"):
        choose_nightly(None, SETTINGS_FOR_CATALOG | settings, at, timezone)


def test_a_night_without_a_catalog_to_deploy_is_told(catalog: Path) -> None:
    nightly = choose_nightly(Path("catalog.jsonl"), SETTINGS_FOR_CATALOG, None, None)
    catalog.write_text(WITH_A_CATALOG.replace("edit-catalog", "edit-video"))
    with pytest.raises(RunError, match="no deployment 'edit-catalog'"):
        read_deployments(nightly, catalog)
    with pytest.raises(RunError, match=r"missing\.yaml is missing"):
        read_deployments(None, catalog.with_name("missing.yaml"))


def test_the_catalog_is_deployed_once_there_is_one() -> None:
    pytest.importorskip("flows.catalog", reason="no flow for catalogs yet")
    (entry,) = [entry for entry in entries() if entry["name"] == "edit-catalog"]
    (hour,) = entry["schedules"]
    assert hour["active"] is False
    assert {"slug", "cron", "timezone"} <= set(hour)

"""The deployments of `prefect.yaml`, as `memory-v2v serve` installs them: without a work pool.

That file says their names, descriptions and hours, for this as for `prefect deploy --all`. An hour in it is only
kept when the operator names what to do then: `Nightly`. Imports no Prefect by itself: once that is loaded, it no longer
looks for the server that `serve` starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flows.environment import user_folder
from flows.request import made_anywhere, validated
from model.config import CatalogRequest
from model.errors import RequestError, RunError
from storage.catalog import read_catalog
from storage.foreign_text import parse_yaml, read_text
from storage.store import place_for
from storage.table_place import require_prefix
from tasks.cluster import choose_device
from tasks.weights import TEXT_EDITS, locate_descriptor, locate_weights, require_kind

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule

SETTINGS = Path(__file__).resolve().parents[1] / "prefect.yaml"
CATALOG = "edit-catalog"


@dataclass(frozen=True)
class Nightly:
    """What the catalog's deployment does once a day; `at` and `timezone` are those of `prefect.yaml` where None."""

    request: CatalogRequest
    at: str | None = None
    timezone: str | None = None


def choose_nightly(
    manifest: Path | None, settings: Mapping[str, Any], at: str | None, timezone: str | None
) -> Nightly | None:
    """The catalog that the operator wants run every day, None for none; `settings` are fields of `CatalogRequest`.

    Paths become absolute: whoever runs it does so in another folder. What a run looks at first is looked at here, so
    that it fails now and not in the evening: the model, downloaded where that is needed, and the manifest.

    Raises:
        RequestError: there is no such manifest, hour or time zone, a setting makes no sense, or there is none to run.
        WeightsError: there is no such model.
    """
    if manifest is None:
        _require_silence({"--at": at, "--timezone": timezone, "--defaults": settings["defaults"]})
        return None
    if not manifest.is_file():
        raise RequestError(f"--nightly {manifest}: no such file; expected the manifest of a catalog")
    if at is not None:
        _cron(at)
    if timezone is not None:
        _require_timezone(timezone)
    request = made_anywhere(validated(CatalogRequest, {**settings, "manifest": manifest}))
    place_for(request.out)
    if request.memory is not None:
        require_prefix(request.memory)
    require_kind(locate_weights(request.weights, user_folder("cache")), TEXT_EDITS)
    locate_descriptor(request.descriptor)
    choose_device(request.device)
    read_catalog(request.manifest, request.defaults, request.out)
    return Nightly(request, at, timezone)


def _require_silence(said: Mapping[str, Any]) -> None:
    """That nothing was said of a catalog where none is named."""
    for option, value in said.items():
        if value is not None:
            raise RequestError(f"{option} {value}: is for a catalog that runs every day; add --nightly MANIFEST")


def read_deployments(nightly: Nightly | None, settings: Path = SETTINGS) -> "list[RunnerDeployment]":
    """Every deployment of `settings`, with the catalog's hour only if there is something to do then.

    Raises:
        RunError: the file is not there, or has no catalog for `nightly`.
    """
    if not settings.is_file():
        raise RunError(f"{settings} is missing, which says what can be run; serve from a checkout of the project")
    entries = parse_yaml(read_text(settings))[0]["deployments"]
    if nightly and CATALOG not in [entry["name"] for entry in entries]:
        raise RunError(f"{settings} has no deployment {CATALOG!r}, which --nightly is for")
    return [_deployment(entry, nightly if entry["name"] == CATALOG else None) for entry in entries]


def forget_hours(deployments: "Sequence[RunnerDeployment]") -> None:
    """Remove what an earlier start had the server of `PREFECT_API_URL` do by itself, where this one says no hour."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        for deployment in deployments:
            if deployment.schedules:
                continue
            try:
                known = client.read_deployment_by_name(f"{deployment.flow_name}/{deployment.name}")
            except ObjectNotFound:
                continue
            for hour in known.schedules:
                client.delete_deployment_schedule(known.id, hour.id)


def describe_hours(deployments: "Sequence[RunnerDeployment]") -> str | None:
    """What happens by itself, and when, for a person; None where nothing does."""
    from prefect.client.schemas.schedules import CronSchedule

    hours = [(deployment.name, hour.schedule) for deployment in deployments for hour in deployment.schedules or ()]
    told = [f"{name} at {hour.cron} {hour.timezone}" for name, hour in hours if isinstance(hour, CronSchedule)]
    return ", ".join(told) or None


def _deployment(entry: Mapping[str, Any], nightly: Nightly | None) -> "RunnerDeployment":
    from prefect.types.entrypoint import EntrypointType

    file, _, name = entry["entrypoint"].partition(":")
    flow = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
    return flow.to_deployment(
        entry["name"],
        description=entry["description"],
        schedules=[_schedule(hour, nightly) for hour in entry.get("schedules", ()) if nightly],
        entrypoint_type=EntrypointType.MODULE_PATH,  # good from any folder
    )


def _schedule(hour: Mapping[str, Any], nightly: Nightly) -> "Schedule":
    from prefect.schedules import Cron

    return Cron(
        hour["cron"] if nightly.at is None else _cron(nightly.at),
        timezone=nightly.timezone or hour["timezone"],
        slug=hour["slug"],
        parameters={"request": nightly.request.model_dump(mode="json", exclude_unset=True)},
    )


def _cron(at: str) -> str:
    hour, colon, minute = at.partition(":")
    digits = colon and all(part.isascii() and part.isdecimal() and len(part) <= 2 for part in (hour, minute))
    if not digits or int(hour) > 23 or int(minute) > 59:
        raise RequestError(f"--at {at}: expected an hour such as 18:00")
    return f"{int(minute)} {int(hour)} * * *"


def _require_timezone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise RequestError(f"--timezone {name}: no such time zone; expected one such as Europe/Berlin or UTC") from None

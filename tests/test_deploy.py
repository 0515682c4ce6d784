"""The files of `deploy/`, as far as they can be checked without a container runtime or a cluster.

KubeRay's manifests are held against the names of its fields (v1.6), in models that know no others.
"""

# ruff: noqa: N815 (the names of fields are KubeRay's)
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import BaseModel, ConfigDict, Field

from tasks.metrics import KINDS

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = ("docker-compose.yaml", "docker-compose.cuda.yaml")
SECRET = re.compile(r"password|token|secret|auth_string|alert", re.IGNORECASE)


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def lint(program: str, *words: str | Path) -> str:
    """What a linter of the test extra has to say; nothing, if all is well."""
    done = subprocess.run([Path(sys.executable).with_name(program), *words], capture_output=True, text=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_every_file_of_yaml_is_read(path: Path) -> None:
    assert all(document for document in yaml.safe_load_all(path.read_text()))


def test_the_image_is_built_as_it_should_be() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert lint("hadolint", DEPLOY / "Dockerfile") == ""
    bases = [line.split()[1] for line in text.splitlines() if line.startswith("FROM ")]
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+|base|\w+-torch", base) for base in bases)
    assert text.index("USER 1000") < text.index("pip install")
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert len(installs) == 4
    assert all("--constraint constraints.txt" in line for line in installs)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {".git", ".venv", "**/.env"} <= set(ignored)


def test_the_image_has_what_the_environment_of_every_command_says() -> None:
    from flows.environment import SILENT

    text = (DEPLOY / "Dockerfile").read_text()
    quiet = {name: value for name, value in SILENT.items() if "PROMOTIONAL" not in name and "UNHANDLED" not in name}
    assert [name for name, value in quiet.items() if f"{name}={value}" not in text] == []


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_follows_its_specification(name: str) -> None:
    place = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    errors = Draft7Validator(json.loads(place.read_text())).iter_errors(read(name))
    assert [error.message for error in errors] == []


def test_compose_shows_nothing_to_the_network_and_holds_no_secret() -> None:
    services = read("docker-compose.yaml")["services"]
    assert set(services) == {"postgres", "server", "worker"}
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["healthcheck"]["test"], name
        assert "no-new-privileges:true" in service["security_opt"]
        for variable, value in service["environment"].items():
            if SECRET.search(variable):
                assert "${" in value, variable
    assert "${POSTGRES_PASSWORD}" in services["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["postgres"]["image"])


def test_compose_asks_only_for_variables_that_the_example_has() -> None:
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "docker-compose.yaml").read_text()))
    given = dict(line.split("=", 1) for line in (DEPLOY / ".env.example").read_text().splitlines() if "=" in line)
    assert asked == set(given)
    assert not any(value for name, value in given.items() if SECRET.search(name))


@pytest.mark.parametrize("names", [COMPOSE[:1], COMPOSE])
def test_docker_understands_compose(names: tuple[str, ...]) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("no docker compose on this machine")
    files = [word for name in names for word in ("--file", str(DEPLOY / name))]
    values = {"POSTGRES_PASSWORD": "a", "PREFECT_PASSWORD": "b", "MEMORY_V2V_DATA": "/data"}
    command = ["docker", "compose", *files, "config", "--quiet"]
    done = subprocess.run(command, env={**os.environ, **values}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Resources(Strict):
    requests: dict[str, str]
    limits: dict[str, str]


class Container(Strict):
    name: str
    image: str
    resources: Resources
    securityContext: dict[str, Any]
    ports: list[dict[str, Any]]
    volumeMounts: list[dict[str, Any]]
    envFrom: list[dict[str, Any]] = []


class PodSpec(Strict):
    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    securityContext: dict[str, Any]
    volumes: list[dict[str, Any]]
    tolerations: list[dict[str, Any]] = []
    automountServiceAccountToken: bool = True
    terminationGracePeriodSeconds: int = 30


class Pod(Strict):
    spec: PodSpec


class HeadGroup(Strict):
    rayStartParams: dict[str, str]
    template: Pod


class WorkerGroup(HeadGroup):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int
    idleTimeoutSeconds: Annotated[int, Field(ge=300)]


class AuthOptions(Strict):
    mode: Literal["token"]


class AutoscalerOptions(Strict):
    version: Literal["v2"]
    upscalingMode: Literal["Default", "Conservative"]
    idleTimeoutSeconds: Annotated[int, Field(ge=300)]


class ClusterSpec(Strict):
    rayVersion: str
    authOptions: AuthOptions
    enableInTreeAutoscaling: Literal[True]
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]


class JobSpec(Strict):
    clusterSelector: dict[str, str]
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode"]
    entrypointNumCpus: float
    runtimeEnvYAML: str
    backoffLimit: Literal[0]  # KubeRay allows no other on a cluster that is another's
    shutdownAfterJobFinishes: Literal[False]


def test_the_ray_cluster_is_guarded_and_costs_nothing_while_it_is_idle() -> None:
    _, cluster = yaml.safe_load_all((DEPLOY / "kuberay/raycluster.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = ClusterSpec.model_validate(cluster["spec"])
    assert f"ray=={spec.rayVersion}" in (ROOT / "constraints.txt").read_text().split()
    assert spec.headGroupSpec.rayStartParams["num-cpus"] == "0"
    groups = {group.groupName: group for group in spec.workerGroupSpecs}
    assert all(group.minReplicas == group.replicas == 0 < group.maxReplicas for group in groups.values())
    assert groups["gpu"].template.spec.containers[0].resources.limits["nvidia.com/gpu"] == "1"
    for group in (spec.headGroupSpec, *groups.values()):
        (container,), pod = group.template.spec.containers, group.template.spec
        assert pod.securityContext["runAsNonRoot"] is True
        assert container.securityContext == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        ports = {port["name"]: port["containerPort"] for port in container.ports}
        assert str(ports["metrics"]) == group.rayStartParams["metrics-export-port"]
        assert {mount["name"] for mount in container.volumeMounts} <= {volume["name"] for volume in pod.volumes}


def test_the_ray_job_runs_on_that_cluster_and_is_a_command_that_exists() -> None:
    job = read("kuberay/rayjob.yaml")
    _, cluster = yaml.safe_load_all((DEPLOY / "kuberay/raycluster.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = JobSpec.model_validate(job["spec"])
    assert spec.clusterSelector == {"ray.io/cluster": cluster["metadata"]["name"]}
    assert job["metadata"]["namespace"] == cluster["metadata"]["namespace"]
    assert set(yaml.safe_load(spec.runtimeEnvYAML)) == {"env_vars"}
    limit, _, command = spec.entrypoint.partition(" memory-v2v ")
    assert limit.split()[0] == "timeout", "no deadline of the job ends its driver"
    assert subprocess.run([*limit.split(), "true"]).returncode == 0
    assert_runs(f"memory-v2v {command}")


def assert_runs(command: str) -> None:
    """The options of a `memory-v2v catalog run` are ones that it has."""
    program, group, verb, *words = command.split()
    assert (program, group, verb) == ("memory-v2v", "catalog", "run")
    told = subprocess.run([sys.executable, "-m", "flows.cli", group, verb, "--help"], capture_output=True, text=True)
    options = {word for word in words if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", told.stdout))


def test_the_slurm_script_is_sound_and_takes_one_part_each(tmp_path: Path) -> None:
    script = DEPLOY / "slurm/catalog.sbatch"
    assert lint("shellcheck", script) == ""
    fake = tmp_path / "srun"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    task = {"PATH": path, "TMPDIR": str(tmp_path), "SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "8"}
    done = subprocess.run(
        ["bash", script, "a catalog.jsonl", "edited", "lucy"], env={**task, "SLURM_TMPDIR": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "memory-v2v catalog run a catalog.jsonl --out edited --weights lucy --shard 3/8\n"
    assert list(tmp_path.iterdir()) == [fake]
    assert_runs(done.stdout.replace("a catalog", "catalog"))
    done = subprocess.run(["bash", script], env=task, capture_output=True, text=True)
    assert done.returncode != 0
    assert "expected the manifest of a catalog" in done.stderr


def test_prometheus_asks_where_we_serve() -> None:
    jobs = {job["job_name"]: job for job in read("monitoring/prometheus.yml")["scrape_configs"]}
    worker = read("docker-compose.yaml")["services"]["worker"]
    (target,) = jobs["memory-v2v"]["static_configs"][0]["targets"]
    assert target == f"worker:{worker['environment']['MEMORY_V2V_METRICS_PORT']}"
    (pods,) = jobs["memory-v2v-kuberay"]["kubernetes_sd_configs"]
    assert pods == {"role": "pod", "namespaces": {"names": ["memory-v2v"]}}


def test_the_dashboard_shows_every_number_that_we_count_and_no_other() -> None:
    board = json.loads((DEPLOY / "monitoring/grafana-dashboard.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    suffixes = {f"ray_{name}{end}": name for name in KINDS for end in ("", "_bucket")}
    assert {suffixes[word] for word in re.findall(r"\bray_\w+", asked)} == set(KINDS)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["datasource"]["uid"] == "${source}" for panel in board["panels"])
    assert [variable["name"] for variable in board["templating"]["list"]] == ["source"]

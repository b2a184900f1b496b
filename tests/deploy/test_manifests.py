"""Container and cluster files: valid by their schemas, and true to the program they start."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pipeline.cli import app
from pipeline.settings import Settings, read_settings
from tests.conftest import absent

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu")
ROLES = {"ingest", "push", "asr", "detect", "janitor"}
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service["image"].startswith("tingbo")
}


def program(name: str) -> str:
    """A program of the group `deploy` of pyproject.toml, or of this machine."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or absent(name)


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(text) if one]


@functools.cache
def rendered(overlay: str) -> list[dict[str, Any]]:
    """What `kubectl apply --kustomize` would send."""
    kubectl = shutil.which("kubectl") or absent("kubectl")
    return documents(run(kubectl, "kustomize", str(KUBERNETES / "overlays" / overlay)))


def deployments(overlay: str) -> dict[str, dict[str, Any]]:
    return {
        one["metadata"]["name"]: one for one in rendered(overlay) if one["kind"] == "Deployment"
    }


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Where a role is started, and its words after `tingbo`."""
    for name, service in OURS.items():
        yield f"compose {name}", service["command"]
    for file in sorted((KUBERNETES / "base").glob("*.yaml")):
        for one in documents(file.read_text(encoding="utf-8")):
            if one["kind"] == "Deployment":
                yield f"kubernetes {one['metadata']['name']}", container(one)["args"]


# --- the image


def test_the_dockerfile_is_accepted_by_hadolint() -> None:
    """Its linter, which also runs ShellCheck on the commands, has nothing to say."""
    assert (
        run(program("hadolint"), "--failure-threshold", "style", str(DEPLOY / "Dockerfile")) == ""
    )


def test_the_image_does_not_run_as_root() -> None:
    """Both targets start from the stage that changes the user, and have a health check."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)
    bases = {name: base for base, name in stages}
    assert (bases["cpu"], bases["cuda"]) == ("runtime", "runtime")
    runtime = text.partition("AS runtime")[2].partition("\nFROM ")[0]
    assert "\nUSER 10001:10001\n" in runtime
    assert "\nHEALTHCHECK " in runtime


def test_the_image_gets_what_the_wheel_is_made_of() -> None:
    """A folder that the wheel needs is copied, and is not kept from the builder."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    project = (DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8")
    included = re.search(r"targets\.wheel\]\ninclude = \[(.*?)\]", project, flags=re.DOTALL)
    assert included
    folders = {name.split("/")[0] for name in re.findall(r'"/([^"]+)"', included[1])}
    for name in folders:
        assert f"\nCOPY {name} {name}\n" in text
        assert f"!{name}" in sent


def test_the_image_sets_settings_that_exist() -> None:
    """An environment variable that the program does not know would be without effect."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    found = dict(re.findall(r"(TINGBO_\w+)=(\S+)", text))
    settings = read_settings(found)
    assert settings.metrics_port == 9464
    assert settings.log_format == "json"
    assert set(found) <= known_variables()


# --- compose


def known_variables() -> set[str]:
    return {f"TINGBO_{name.upper()}" for name in Settings.__slots__}


def test_compose_is_valid_by_its_schema() -> None:
    """The schema of the Compose specification, as check-jsonschema carries it."""
    if importlib.util.find_spec("check_jsonschema") is None:
        absent("check-jsonschema")
    words = ("-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    run(sys.executable, *words, str(DEPLOY / "compose.yaml"))


def test_compose_runs_every_role_beside_what_it_needs() -> None:
    """All roles, Redis and PostgreSQL with health checks, Prometheus and Grafana."""
    assert set(OURS) == ROLES
    others = set(COMPOSE["services"]) - ROLES
    assert others == {"redis", "postgres", "clips-folder", "prometheus", "grafana"}
    for name in others - {"clips-folder"}:
        assert COMPOSE["services"][name]["healthcheck"]["test"], name
    for service in OURS.values():
        assert service["depends_on"]["redis"] == {"condition": "service_healthy"}
        assert service["depends_on"]["postgres"] == {"condition": "service_healthy"}
        assert service["read_only"] is True
        assert set(service["environment"]) - known_variables() <= {"HF_ENDPOINT"}


def test_compose_opens_nothing_to_the_network_and_holds_no_password() -> None:
    """Published ports are on loopback; passwords come from the environment file or not at all."""
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\$\{(\w+_PASSWORD):\?set it", text))
    assert wanted == {"REDIS_PASSWORD", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+_PASSWORD)=$", example, flags=re.MULTILINE)) == wanted


def test_prometheus_asks_every_role_of_compose() -> None:
    """A role that nobody scrapes has no alerts."""
    text = (DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["job_name"] == "tingbo"
    assert set(job["dns_sd_configs"][0]["names"]) == ROLES


# --- kubernetes


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_are_valid_by_the_schemas_of_kubernetes(overlay: str) -> None:
    """Strictly: a misspelt field, which a cluster would ignore, fails here."""
    if importlib.util.find_spec("kubernetes_validate") is None:
        absent("kubernetes-validate")
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    checked = [one for one in rendered(overlay) if not one["apiVersion"].startswith("keda.sh/")]
    secret = documents((KUBERNETES / "secret.example.yaml").read_text(encoding="utf-8"))
    for one in [*checked, *secret]:
        kubernetes_validate.validate(one, version, strict=True)
    kinds = {one["kind"] for one in checked}
    assert kinds == {"Namespace", "ConfigMap", "Deployment", "Service", "PodDisruptionBudget"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_is_deployed_with_probes_and_requests(overlay: str) -> None:
    """Probes ask the pages that there are, on the port that is set; nothing runs as root."""
    found = deployments(overlay)
    assert set(found) == ROLES
    for name, deployment in found.items():
        one, pod = container(deployment), deployment["spec"]["template"]["spec"]
        assert one["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
        assert one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
        assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
        assert one["ports"][0] == {"name": "metrics", "containerPort": 9464}
        assert set(one["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in one["resources"]["limits"]
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["terminationGracePeriodSeconds"] >= 60
        assert one["image"].startswith("registry.example/tingbo:"), name


def test_gpus_are_for_speech_alone() -> None:
    """The overlay changes the speech workers and nothing else."""
    plain, gpu = deployments("cpu"), deployments("gpu")
    assert container(gpu["asr"])["image"] == "registry.example/tingbo:cuda"
    assert container(gpu["asr"])["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {name: gpu[name] for name in ROLES - {"asr"}} == {
        name: plain[name] for name in ROLES - {"asr"}
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_cluster_settings_are_read_by_the_program(overlay: str) -> None:
    """ConfigMap, Secret and variables of a container name settings, with values that fit."""
    (config,) = [one for one in rendered(overlay) if one["kind"] == "ConfigMap"]
    (secret,) = documents((KUBERNETES / "secret.example.yaml").read_text(encoding="utf-8"))
    own = {
        one["name"]: one["value"] for one in container(deployments(overlay)["asr"]).get("env", ())
    }
    values = {**config["data"], **secret["stringData"], **own}
    ours = {name: value for name, value in values.items() if name.startswith("TINGBO_")}
    assert set(ours) <= known_variables()
    assert read_settings(ours).metrics_port == 9464
    assert not [name for name in config["data"] if name.endswith(("REDIS_URL", "DATABASE_URL"))]


def test_scaling_asks_for_metrics_that_exist() -> None:
    """KEDA's objects have no schema here: their fields and queries are held to what they mean."""
    from tests.deploy.test_dashboard import RECORDED, named, series

    objects = [one for one in rendered("cpu") if one["kind"] == "ScaledObject"]
    assert {one["spec"]["scaleTargetRef"]["name"] for one in objects} == {"asr", "detect", "ingest"}
    fields = {
        *("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval"),
        *("fallback", "advanced", "triggers"),
    }
    for one in objects:
        spec = one["spec"]
        assert set(spec) == fields
        assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        for trigger in spec["triggers"]:
            assert trigger["type"] == "prometheus"
            assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}
            assert named(trigger["metadata"]["query"]) <= set(series()) | RECORDED
            assert float(trigger["metadata"]["threshold"]) > 0
        # Its number of replicas is the autoscaler's, not the manifest's.
        target = deployments("cpu")[spec["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]


def test_budgets_choose_pods_that_exist() -> None:
    """A budget whose labels choose nothing protects nothing."""
    found = deployments("cpu")
    for one in rendered("cpu"):
        if one["kind"] == "PodDisruptionBudget":
            name = one["metadata"]["name"]
            labels = found[name]["spec"]["template"]["metadata"]["labels"]
            wanted = one["spec"]["selector"]["matchLabels"]
            assert wanted.items() <= labels.items(), name


# --- both


@pytest.mark.parametrize(
    ("where", "words"), [*command_lines()], ids=[where for where, _ in command_lines()]
)
def test_what_is_started_is_a_command(where: str, words: list[str]) -> None:
    """Role and options are those of the program."""
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]  # a group
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options, where
    # YAML makes numbers of unquoted ones.
    assert all(isinstance(word, str) for word in words), where

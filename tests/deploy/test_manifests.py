"""deploy/kubernetes: against Kubernetes' own schemas, and against what this worker needs."""

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from skimstream.consumer.config import Settings, load_settings
from skimstream.consumer.health import SILENT_SECONDS
from stage.deployed import PINNED, ROOT, STOPPING, documents, parse, unknown

FOLDER = ROOT / "deploy/kubernetes"
# Those that Kubernetes has no schema of.
FOREIGN = {"ScaledObject", "Kustomization"}
ALL = [(path.name, one) for path in sorted(FOLDER.glob("*.y*ml")) for one in documents(path)]
OWN = [pytest.param(one, id=f"{name}-{one['kind']}") for name, one in ALL if one["kind"] not in FOREIGN]
NAMED = {(one["kind"], one["metadata"]["name"]): one for _, one in ALL if "metadata" in one}
DEPLOYMENTS = [one for _, one in ALL if one["kind"] == "Deployment"]
BY_NAME = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["metadata"]["name"])
# Kubernetes of the last two years.
VERSIONS = ("1.31", "1.34")


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    return dict(deployment["spec"]["template"]["spec"])


def skim_of(deployment: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_of(deployment)["containers"]
    return dict(container)


def seconds(probe: dict[str, Any]) -> float:
    """How long a probe may fail."""
    return float(probe["periodSeconds"] * probe["failureThreshold"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", OWN)
def test_kubernetes_takes_it(document: dict[str, Any], version: str) -> None:
    checker = pytest.importorskip("kubernetes_validate", reason="needs the package kubernetes-validate")
    checker.validate(document, version, strict=True)
    wrong = copy.deepcopy(document)
    wrong["metadata"]["nmae"] = "x"
    with pytest.raises(checker.ValidationError, match="nmae"):
        checker.validate(wrong, version, strict=True)


def test_everything_is_in_the_namespace_and_named_once() -> None:
    assert len(NAMED) == sum("metadata" in one for _, one in ALL)
    for kind, name in NAMED:
        if kind != "Namespace":
            assert NAMED[kind, name]["metadata"]["namespace"] == "skimstream", (kind, name)
    assert NAMED["Namespace", "skimstream"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@BY_NAME
def test_pods_are_as_restricted_as_the_namespace_asks(deployment: dict[str, Any]) -> None:
    pod, container = pod_of(deployment), skim_of(deployment)
    security = pod["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
    assert "USER 10001:10001" in (ROOT / "deploy/Dockerfile").read_text()
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)


@BY_NAME
def test_a_read_only_root_has_its_tmp(deployment: dict[str, Any]) -> None:
    pod, container = pod_of(deployment), skim_of(deployment)
    volumes = {one["name"]: one for one in pod["volumes"]}
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert "sizeLimit" in volumes[mounts["/tmp"]["name"]]["emptyDir"]  # noqa: S108 (inside of a container)
    assert {one["name"] for one in mounts.values()} == set(volumes)
    assert all(one.get("readOnly") for path, one in mounts.items() if path != "/tmp")  # noqa: S108


@BY_NAME
def test_probes_ask_what_is_served(deployment: dict[str, Any]) -> None:
    container = skim_of(deployment)
    ports = {one["name"] for one in container["ports"]}
    expected = {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    for probe, path in expected.items():
        assert container[probe]["httpGet"]["path"] == path
        assert container[probe]["httpGet"]["port"] in ports
    # Compiling anew takes most of a minute on a whole CPU.
    assert seconds(container["startupProbe"]) >= 300
    assert seconds(container["livenessProbe"]) >= 60


def test_a_worker_is_not_killed_for_one_long_call() -> None:
    probe = skim_of(NAMED["Deployment", "skim-ztf"])["livenessProbe"]
    # Silent for so long, and then asked several times: all the same sooner than its own watchdog.
    assert SILENT_SECONDS + seconds(probe) < Settings().watchdog.seconds


@BY_NAME
def test_there_is_time_to_finish(deployment: dict[str, Any]) -> None:
    assert pod_of(deployment)["terminationGracePeriodSeconds"] >= STOPPING + 10
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@BY_NAME
def test_commands_variables_and_images_are_those_of_skim(deployment: dict[str, Any]) -> None:
    container = skim_of(deployment)
    assert parse(container["args"]) in ("run", "serve")
    environment = {one["name"]: one.get("value", "") for one in container["env"]}
    assert unknown(environment) == set()
    assert PINNED.fullmatch(container["image"])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container["image"].endswith(f":{version}")
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(requests)
    assert "memory" in limits


@BY_NAME
def test_secrets_are_files_and_the_template_has_no_values(deployment: dict[str, Any]) -> None:
    template = NAMED["Secret", "skimstream"]["stringData"]
    assert set(template.values()) == {""}
    volumes = {one["name"]: one for one in pod_of(deployment)["volumes"]}
    assert volumes["secrets"]["secret"]["secretName"] == "skimstream"
    for one in skim_of(deployment)["env"]:
        assert one["name"].endswith("_FILE"), one
        assert one["value"].removeprefix("/run/secrets/skim/") in template


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "Service", "NetworkPolicy"])
def test_selectors_find_their_pods(kind: str) -> None:
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in DEPLOYMENTS]
    for (found, name), one in NAMED.items():
        if found == kind:
            spec = one["spec"]
            selector = spec.get("podSelector", spec.get("selector"))
            labels = selector.get("matchLabels", selector)
            assert sum(labels.items() <= pod.items() for pod in pods) == 1, name
    for deployment in DEPLOYMENTS:
        assert ("PodDisruptionBudget", deployment["metadata"]["name"]) in NAMED
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_settings_are_right(tmp_path: Path) -> None:
    text = NAMED["ConfigMap", "skim-ztf"]["data"]["skim.toml"]
    file = tmp_path / "skim.toml"
    file.write_text(text)
    settings = load_settings(file, {})
    container = skim_of(NAMED["Deployment", "skim-ztf"])
    assert container["args"] == ["run", "--config", "/etc/skim/skim.toml"]
    assert (settings.stream, settings.metrics.host) == ("ztf", "0.0.0.0")  # noqa: S104
    assert settings.metrics.port == container["ports"][0]["containerPort"]


def test_keda_follows_the_lag_of_these_workers() -> None:
    scaled = NAMED["ScaledObject", "skim-ztf"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    spec = scaled["spec"]
    assert set(spec) <= {
        "scaleTargetRef",
        "minReplicaCount",
        "maxReplicaCount",
        "pollingInterval",
        "cooldownPeriod",
    } | {
        "advanced",
        "triggers",
    }
    workers = NAMED["Deployment", spec["scaleTargetRef"]["name"]]
    assert "replicas" not in workers["spec"]  # else each `apply` would undo what KEDA decided
    partitions = int(scaled["metadata"]["annotations"]["skimstream/partitions"])
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= partitions
    (trigger,) = spec["triggers"]
    asked = trigger["metadata"]
    assert trigger["type"] == "kafka"
    assert all(isinstance(value, str) for value in asked.values())  # KEDA refuses bare numbers and booleans
    settings = tomllib.loads(NAMED["ConfigMap", "skim-ztf"]["data"]["skim.toml"])
    assert asked["bootstrapServers"] == settings["kafka"]["bootstrap"]
    assert asked["consumerGroup"] == settings["kafka"]["group"]
    assert asked["topic"] == settings["topic"]
    assert asked["allowIdleConsumers"] == "false"


def test_kustomize_takes_all_but_the_template() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = {path.name for path in FOLDER.glob("*.yml")}
    assert set(listed["resources"]) == files - {"secret.example.yml"}
    (image,) = listed["images"]
    assert {skim_of(one)["image"] for one in DEPLOYMENTS} == {f"{image['name']}:{image['newTag']}"}

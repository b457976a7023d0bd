"""What must hold of the manifests in deploy/: among themselves, and with the service, the image and the docs."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml

from app.addresses import GLOBAL_UNICAST, NOT_PUBLIC
from app.admission import Admission
from app.bundle import read_bundle
from app.classifier import Classifier
from app.cpu import Plan
from app.errors import Refusal
from app.metrics import Now
from app.routes import ROUTES
from app.server import LISTEN_ON_S
from app.service import WAITING_PER_STREAM
from app.settings import ROOT, Settings, build
from app.web import BODIES
from tests.manifests import FOLDER, Manifest, Manifests, pod_spec
from tests.test_docker import IMAGE
from tests.test_supply import PROJECT

DEPLOY, OPERATE, BENCH = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("deploy", "operate", "bench"))
LABELS = {"app.kubernetes.io/name": "tellapart"}
PODS = ("Deployment", "InferenceService")
RULES: list[Callable[[Manifests], None]] = []
BYTES = {"Mi": 2**20, "Gi": 2**30}


def rule(holds: Callable[[Manifests], None]) -> Callable[[Manifests], None]:
    """What must hold of the manifests: a function that fails where it does not."""
    RULES.append(holds)
    return holds


def service(manifest: Manifest) -> dict[str, Any]:
    """The container that serves."""
    (container,) = pod_spec(manifest)["containers"]
    return dict(container)


def environ(manifest: Manifest) -> dict[str, str]:
    return {each["name"]: each["value"] for each in service(manifest)["env"]}


def size(quantity: str) -> int:
    return int(quantity[:-2]) * BYTES[quantity[-2:]]


def number(pattern: str, text: str) -> float:
    """The number that the docs have there."""
    found = re.search(pattern, text)
    assert found, pattern
    return float(found[1])


@rule
def all_files_are_listed(k: Manifests) -> None:
    listed = k["Kustomization"]["resources"]
    assert sorted(listed) == sorted(path.name for path in FOLDER.iterdir() if path.name != "kustomization.yaml")


@rule
def they_find_each_other(k: Manifests) -> None:
    name = k["Namespace"]["metadata"]["name"]
    placed = [each["metadata"]["namespace"] for kind, each in k.items() if kind not in ("Namespace", "Kustomization")]
    assert set(placed) == {name}
    pods = k["Deployment"]["spec"]
    spread = [each["labelSelector"] for each in pods["template"]["spec"]["topologySpreadConstraints"]]
    selectors = [pods["selector"], k["PodDisruptionBudget"]["spec"]["selector"], *spread]
    selectors += [k["NetworkPolicy"]["spec"]["podSelector"], k["ServiceMonitor"]["spec"]["selector"]]
    assert all(each == {"matchLabels": LABELS} for each in selectors)
    labels = [pods["template"]["metadata"], k["Deployment"]["metadata"], k["Service"]["metadata"]]
    assert [each["labels"] for each in labels] == [k["Service"]["spec"]["selector"]] * 3 == [LABELS] * 3


@rule
def ports_are_those_of_the_image(k: Manifests) -> None:
    (port,), (outside,) = service(k["Deployment"])["ports"], k["Service"]["spec"]["ports"]
    (endpoint,) = k["ServiceMonitor"]["spec"]["endpoints"]
    (kserves,) = service(k["InferenceService"])["ports"]
    assert port["containerPort"] == kserves["containerPort"] == int(IMAGE.last("EXPOSE"))
    assert (outside["targetPort"], endpoint["port"]) == (port["name"], outside["name"])
    assert kserves["name"] == "http1"  # Knative takes this, h2c, or none


@rule
def it_has_time_to_leave(k: Manifests) -> None:
    listens_s = service(k["Deployment"])["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert listens_s > LISTEN_ON_S
    assert pod_spec(k["Deployment"])["terminationGracePeriodSeconds"] > listens_s + build({}, {}).drain_s
    assert k["InferenceService"]["spec"]["predictor"]["timeout"] > Settings.body_timeout_s + Settings.request_timeout_s


@rule
def no_pod_is_given_a_port_that_is_none(k: Manifests) -> None:
    assert all(pod_spec(k[kind])["enableServiceLinks"] is False for kind in PODS)


@rule
def cores_are_whole_and_memory_suffices(k: Manifests) -> None:
    at_rest, reload = (number(p, OPERATE) for p in (r"up to (\d+) MB after much work", r"work, (\d+) MB more while"))
    uploads, photo = BODIES * Settings.max_upload_mb, number(r"Bars: (\d+) MB", BENCH)
    for kind in PODS:
        resources = service(k[kind])["resources"]
        assert resources["requests"] == resources["limits"]
        assert re.fullmatch(r"[1-9]\d*", resources["limits"]["cpu"])
        workers = Plan(int(resources["limits"]["cpu"])).workers
        assert 1e6 * (at_rest + reload + uploads + workers * photo) < size(resources["limits"]["memory"])


@rule
def probes_ask_what_is_there_as_docker_does(k: Manifests) -> None:
    flags = dict(re.findall(r"--([\w-]+)=(\d+)", IMAGE.last("HEALTHCHECK")))
    paths = {"startupProbe": "/readyz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert {*paths.values()} <= {route.path for route in ROUTES}
    for kind in PODS:
        container = service(k[kind])
        (port,) = container["ports"]
        for name, path in paths.items():
            probe = container[name]
            assert probe["httpGet"]["path"] == path
            assert probe["httpGet"]["port"] in (port["name"], port["containerPort"])
            assert probe["timeoutSeconds"] == int(flags["timeout"])
        for name in ("livenessProbe", "readinessProbe"):
            found = [container[name][key] for key in ("periodSeconds", "failureThreshold")]
            assert found == [int(flags["interval"]), int(flags["retries"])]
        start = container["startupProbe"]
        assert start["periodSeconds"] * start["failureThreshold"] > int(flags["start-period"])


@rule
def pods_are_restricted(k: Manifests) -> None:
    """By the profile of the Pod Security Standards, and nothing can be written but to empty folders."""
    assert k["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for kind in PODS:
        pod = pod_spec(k[kind])
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all({*each} <= {"name", "emptyDir", "secret"} for each in pod.get("volumes", []))
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            context = pod.get("securityContext", {}) | container["securityContext"]
            context.pop("fsGroup", None)
            assert context == {
                "runAsNonRoot": True,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            assert "limits" in container["resources"]
    assert pod_spec(k["Deployment"])["securityContext"]["fsGroup"] == int(IMAGE.last("USER"))


@rule
def settings_are_ours_and_lead_to_what_is_mounted(k: Manifests) -> None:
    known = {f"TELLAPART_{name.upper()}" for name in Settings.__dataclass_fields__}
    for kind in PODS:
        assert {name for name in environ(k[kind]) if name.startswith("TELLAPART_")} <= known
    volumes = {each["name"]: each for each in pod_spec(k["Deployment"])["volumes"]}
    mounts = {each["mountPath"]: each for each in service(k["Deployment"])["volumeMounts"]}
    assert {each["name"] for each in mounts.values()} == volumes.keys()
    model, key = (Path(environ(k["Deployment"])[f"TELLAPART_{name}"]) for name in ("MODEL", "API_KEY_FILE"))
    assert mounts[str(model.parent)] == {"name": "models", "mountPath": str(model.parent), "readOnly": True}
    assert mounts[str(key.parent)]["name"] == "key"
    secret = volumes["key"]["secret"]
    (endpoint,) = k["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": secret["secretName"], "key": key.name}
    assert f"create secret generic {secret['secretName']} --from-file={key.name}=" in DEPLOY
    assert secret["defaultMode"] == 0o440


@rule
def the_bundle_is_copied_to_where_it_is_looked_for(k: Manifests) -> None:
    pod = pod_spec(k["Deployment"])
    (copies,) = pod["initContainers"]
    *command, source, target = copies["command"]
    (mount,) = copies["volumeMounts"]
    model = Path(environ(k["Deployment"])["TELLAPART_MODEL"])
    assert (command, source) == (["cp", "-r"], f"{IMAGE.last('WORKDIR')}/models/bears")
    assert Path(target) / Path(source).name == model
    assert mount == {"name": "models", "mountPath": str(model.parent)}
    bundle = read_bundle(ROOT / "models" / "bears")
    assert copies["image"] == f"tellapart-bears:{bundle.version}"
    in_f32 = 4 * sum(each["bytes"] for each in bundle.card["files"].values())
    (room,) = (each["emptyDir"]["sizeLimit"] for each in pod["volumes"] if each["name"] == "models")
    assert in_f32 < size(room)
    for kind in PODS:
        assert service(k[kind])["image"] == f"tellapart:{PROJECT['project']['version']}"
    assert k["InferenceService"]["metadata"]["name"] == bundle.name


@rule
def one_may_go_and_more_come_when_it_is_full(k: Manifests) -> None:
    scaler, pods = k["HorizontalPodAutoscaler"]["spec"], k["Deployment"]
    target = {"apiVersion": pods["apiVersion"], "kind": "Deployment", "name": pods["metadata"]["name"]}
    assert scaler["scaleTargetRef"] == target
    assert "replicas" not in pods["spec"]
    assert k["PodDisruptionBudget"]["spec"]["maxUnavailable"] < scaler["minReplicas"] < scaler["maxReplicas"]
    cpu, line = scaler["metrics"]
    share = number(r"× that number ÷ (0\.\d+)", OPERATE)
    assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": round(100 * share)}
    room = WAITING_PER_STREAM * int(service(pods)["resources"]["limits"]["cpu"])
    assert line["pods"]["target"] == {"type": "AverageValue", "averageValue": str(room // 4)}
    (adapter,) = adapters_rules()
    assert line["pods"]["metric"]["name"] == adapter["name"]["as"] in gauges()
    predictor = k["InferenceService"]["spec"]["predictor"]
    assert [predictor[key] for key in ("minReplicas", "maxReplicas")] == [scaler["minReplicas"], scaler["maxReplicas"]]


def adapters_rules() -> list[dict[str, Any]]:
    """Of prometheus-adapter, as the docs have them."""
    (block,) = (each for each in re.findall(r"```yaml\n(.*?)```", DEPLOY, re.DOTALL) if "seriesQuery" in each)
    return list(yaml.safe_load(block)["rules"])


class Starting:
    """A service whose bundle is not loaded yet."""

    admission = Admission(1, 1)

    @property
    def classifier(self) -> Classifier:
        raise Refusal("starting", "")


def gauges() -> set[str]:
    """What the service tells of its line."""
    return {family.name for family in Now(Starting()).collect()}


@rule
def only_names_are_looked_up_and_only_public_addresses_reached(k: Manifests) -> None:
    spec = k["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Egress"]
    dns, public = spec["egress"]
    assert {each["port"] for each in dns["ports"]} == {53}
    assert {each["port"] for each in public["ports"]} == {80, 443}
    blocks = {each["ipBlock"]["cidr"]: each["ipBlock"]["except"] for each in public["to"]}
    assert blocks.keys() == {str(network) for network in GLOBAL_UNICAST}
    for cidr, without in blocks.items():
        version = ip_network(cidr).version
        assert set(without) == {str(network) for network in NOT_PUBLIC if network.version == version}


@rule
def it_is_scraped_as_elsewhere(k: Manifests) -> None:
    (endpoint,) = k["ServiceMonitor"]["spec"]["endpoints"]
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert endpoint["path"] == job["metrics_path"]
    assert endpoint["interval"] == prometheus["global"]["scrape_interval"]

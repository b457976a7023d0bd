"""deploy/kubernetes and deploy/kserve.yaml: what the API server takes, and right by the rules of manifest_rules.

There is no cluster here: what the parts of one make of it is not tried.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from app.bundle import read_bundle
from app.errors import SettingError
from app.settings import ROOT, build
from tests.manifest_rules import DEPLOY, RULES, environ
from tests.manifests import FOLDER, KSERVE, VERSIONS, Manifests, changed, from_storage, load, pod_spec, validate

FOUND = load()
POD = "Deployment spec template spec"
SERVES = f"{POD} containers 0"
KSERVES = "InferenceService spec predictor"

# A mistake in a field, which a schema must find: where, and the value that it gets.
TYPOS: list[tuple[str, object]] = [
    (f"{SERVES} resource", {}),
    (f"{SERVES} lifecycle preStop sleep second", 5),
    (f"{SERVES} readinessProbe periodSeconds", "10 s"),
    (f"{POD} enableServiceLink", False),
    (f"{POD} initContainers 0 image", 1),
    ("Deployment spec selector", None),
    ("Service spec ports 0 targetport", "http"),
    ("PodDisruptionBudget spec maxUnavailable", [1]),
    ("HorizontalPodAutoscaler spec metrics 1 pods metric", None),
    ("HorizontalPodAutoscaler spec scaleTargetRef namespace", "tellapart"),
    ("NetworkPolicy spec egress 1 to 0 ipBlock excepts", ["10.0.0.0/8"]),
    ("Namespace metadata label", {}),
    ("Kustomization resource", []),
    ("ServiceMonitor spec endpoints 0 targetport", 8000),
    ("ServiceMonitor spec selector matchLabels", {"app": 1}),
    ("ServiceMonitor apiVersion", "monitoring.coreos.com/v2"),
    (f"{KSERVES} container", []),
    (f"{KSERVES} timeout", "75s"),
    (f"{KSERVES} containers 0 port", []),
]

# A change that breaks a rule, and the rule's name.
MUTANTS: list[tuple[str, str, object]] = [
    ("all_files_are_listed", "Kustomization resources", ["namespace.yaml"]),
    ("they_find_each_other", "ServiceMonitor spec selector matchLabels", {"app": "tellapart"}),
    ("they_find_each_other", "Service metadata labels", {"app": "tellapart"}),
    ("they_find_each_other", "Service metadata namespace", "default"),
    ("ports_are_those_of_the_image", f"{SERVES} ports 0 containerPort", 80),
    ("ports_are_those_of_the_image", "ServiceMonitor spec endpoints 0 port", "web"),
    ("ports_are_those_of_the_image", f"{KSERVES} containers 0 ports 0 name", "http"),
    ("it_has_time_to_leave", f"{POD} terminationGracePeriodSeconds", 25),
    ("it_has_time_to_leave", f"{SERVES} lifecycle preStop sleep seconds", 10),
    ("it_has_time_to_leave", f"{KSERVES} timeout", 60),
    ("no_pod_is_given_a_port_that_is_none", f"{POD} enableServiceLinks", True),
    ("cores_are_whole_and_memory_suffices", f"{SERVES} resources limits cpu", "1500m"),
    ("cores_are_whole_and_memory_suffices", f"{SERVES} resources requests cpu", "1"),
    (
        "cores_are_whole_and_memory_suffices",
        f"{KSERVES} containers 0 resources",
        {key: {"cpu": "4", "memory": "2Gi"} for key in ("requests", "limits")},
    ),
    ("probes_ask_what_is_there_as_docker_does", f"{SERVES} livenessProbe httpGet path", "/readyz"),
    ("probes_ask_what_is_there_as_docker_does", f"{SERVES} readinessProbe periodSeconds", 60),
    ("probes_ask_what_is_there_as_docker_does", f"{SERVES} startupProbe failureThreshold", 3),
    ("pods_are_restricted", "Namespace metadata labels pod-security.kubernetes.io/enforce", "baseline"),
    ("pods_are_restricted", f"{POD} securityContext runAsNonRoot", None),
    ("pods_are_restricted", f"{POD} initContainers 0 securityContext capabilities", {"drop": ["NET_RAW"]}),
    ("pods_are_restricted", f"{SERVES} securityContext readOnlyRootFilesystem", False),
    ("pods_are_restricted", f"{KSERVES} containers 0 securityContext seccompProfile", None),
    ("pods_are_restricted", f"{POD} volumes 2", {"name": "tmp", "hostPath": {"path": "/tmp"}}),
    ("settings_are_ours_and_lead_to_what_is_mounted", f"{SERVES} env 0 name", "TELLAPART_BUNDLE"),
    ("settings_are_ours_and_lead_to_what_is_mounted", f"{SERVES} volumeMounts 1 mountPath", "/run/secrets"),
    ("settings_are_ours_and_lead_to_what_is_mounted", f"{POD} volumes 1 secret secretName", "key"),
    ("the_bundle_is_copied_to_where_it_is_looked_for", f"{POD} initContainers 0 command 3", "/"),
    ("the_bundle_is_copied_to_where_it_is_looked_for", f"{POD} initContainers 0 image", "tellapart-bears:latest"),
    ("the_bundle_is_copied_to_where_it_is_looked_for", f"{POD} volumes 0 emptyDir sizeLimit", "64Mi"),
    ("one_may_go_and_more_come_when_it_is_full", "HorizontalPodAutoscaler spec minReplicas", 1),
    ("one_may_go_and_more_come_when_it_is_full", "Deployment spec replicas", 3),
    ("one_may_go_and_more_come_when_it_is_full", "HorizontalPodAutoscaler spec scaleTargetRef name", "tellpart"),
    (
        "one_may_go_and_more_come_when_it_is_full",
        "HorizontalPodAutoscaler spec metrics 1 pods metric name",
        "tellapart_in_line",
    ),
    (
        "only_names_are_looked_up_and_only_public_addresses_reached",
        "NetworkPolicy spec egress 1 to 0 ipBlock except 4",
        "169.254.169.254/32",
    ),
    ("it_is_scraped_as_elsewhere", "ServiceMonitor spec endpoints 0 interval", "60s"),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", FOUND)
def test_each_file_fits_its_schema(kind: str, version: str) -> None:
    validate(FOUND[kind], version)


def test_so_does_a_bundle_from_storage() -> None:
    """With the lines that the comment says; KServe puts what STORAGE_URI names at /mnt/models."""
    found = from_storage()
    assert environ(found).keys() - environ(FOUND["InferenceService"]).keys() == {"STORAGE_URI", "TELLAPART_MODEL"}
    assert environ(found)["TELLAPART_MODEL"] == "/mnt/models"
    validate(found, VERSIONS[0])


@pytest.mark.parametrize(("where", "value"), TYPOS, ids=[where for where, _ in TYPOS])
def test_a_mistake_in_a_field_is_found(where: str, value: object) -> None:
    mutant = changed(FOUND, where, value)[where.split()[0]]
    with pytest.raises(jsonschema.ValidationError):
        validate(mutant, VERSIONS[-1])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_holds_and_can_be_broken(rule: Callable[[Manifests], None]) -> None:
    rule(FOUND)
    mutants = [(where, value) for name, where, value in MUTANTS if name == rule.__name__]
    assert mutants, "no mutant shows that this rule can be broken"
    for where, value in mutants:
        mutant = changed(FOUND, where, value)
        with pytest.raises((AssertionError, KeyError)):  # the latter: what is looked for is not there
            rule(mutant)


def test_service_links_would_stop_the_service() -> None:
    """What Kubernetes puts into every pod beside a Service named tellapart, unless enableServiceLinks is false."""
    with pytest.raises(SettingError, match=r"TELLAPART_PORT is 'tcp://10\.96\.7\.1:80': it must be a whole number"):
        build({}, {"TELLAPART_SERVICE_HOST": "10.96.7.1", "TELLAPART_PORT": "tcp://10.96.7.1:80"})


def test_the_settings_are_taken_and_the_copied_bundle_is_whole(tmp_path: Path) -> None:
    """The init container's command as it stands, but for where image and volumes are; then the service's variables."""
    places = {"/tellapart/": f"{ROOT}/", "/models/": f"{tmp_path}/", "/run/secrets/tellapart/": f"{tmp_path}/"}

    def here(text: str) -> str:
        (start,) = [start for start in places if text.startswith(start)] or [""]
        return places.get(start, "") + text.removeprefix(start)

    (copies,) = pod_spec(FOUND["Deployment"])["initContainers"]
    subprocess.run(list(map(here, copies["command"])), check=True)
    (tmp_path / "key").write_text("secret\n")
    settings = build({}, {name: here(value) for name, value in environ(FOUND["Deployment"]).items()})
    assert (settings.api_key, settings.log_format) == ("secret", "json")
    assert read_bundle(settings.model).version == read_bundle(ROOT / "models" / "bears").version


def test_the_docs_go_through_them() -> None:
    assert "## Kubernetes" in DEPLOY
    commands = [line for line in DEPLOY.splitlines() if line.startswith("kubectl ")]
    assert "kubectl apply --kustomize overlay" in commands
    assert f"resources: [../tellapart/{FOLDER.relative_to(ROOT)}]" in DEPLOY
    assert f"kubectl apply --filename {KSERVE.relative_to(ROOT)}" in commands
    assert "Kubernetes" in DEPLOY.partition("**Not run**")[2]

"""What stands in deploy/ for Kubernetes, and whether it is what the API server would take."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from app.settings import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KSERVE = ROOT / "deploy" / "kserve.yaml"
OLDEST = "1.30"  # preStop.sleep
VERSIONS = (OLDEST, kubernetes_validate.latest_version())

Manifest = dict[str, Any]
Manifests = Mapping[str, Manifest]  # by kind


def read(text: str) -> Manifest:
    """The one document of a file."""
    (found,) = yaml.safe_load_all(text)
    return dict(found)


def load() -> dict[str, Manifest]:
    """All of them, as they stand."""
    found = [read(path.read_text()) for path in (*sorted(FOLDER.iterdir()), KSERVE)]
    kinds = {each["kind"]: each for each in found}
    assert len(kinds) == len(found), "two of a kind"
    return kinds


def from_storage() -> Manifest:
    """The InferenceService with the lines in force that bring a bundle from storage."""
    return read(re.sub(r"# (- \{ name: )", r"\1", KSERVE.read_text()))


def changed(manifests: Manifests, where: str, value: object) -> dict[str, Manifest]:
    """A copy with another value at `where`, such as "Deployment spec replicas"; of None, without the field."""
    other = copy.deepcopy(dict(manifests))
    *way, last = where.split()
    place: Any = other
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    if value is None:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return other


def validate(manifest: Manifest, version: str) -> None:
    """Raise a ValidationError where a field is unknown, missing or of another type.

    Kinds of Kubernetes itself by its own schemas of that version; the others by SCHEMAS, and the containers of an
    InferenceService as those of a pod.
    """
    kind = manifest["kind"]
    if kind not in SCHEMAS:
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    jsonschema.validate(manifest, SCHEMAS[kind])
    if kind == "InferenceService":
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod_spec(manifest)}
        kubernetes_validate.validate(pod, version, strict=True)


def pod_spec(manifest: Manifest) -> dict[str, Any]:
    """The pod's part of a Deployment, or of an InferenceService."""
    if manifest["kind"] == "Deployment":
        return dict(manifest["spec"]["template"]["spec"])
    return {key: value for key, value in manifest["spec"]["predictor"].items() if key not in KSERVES_OWN}


def closed(required: Mapping[str, object], **optional: object) -> dict[str, object]:
    """The schema of an object with these fields and no others."""
    properties = {**required, **optional}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


STRING = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 1}
LABELS = {"type": "object", "additionalProperties": STRING}
METADATA = closed({"name": STRING, "namespace": STRING}, labels=LABELS)
KSERVES_OWN = {"minReplicas": COUNT, "maxReplicas": COUNT, "timeout": COUNT}


def custom(api_version: str, kind: str, **fields: object) -> dict[str, object]:
    """The schema of a kind with these fields beside its name."""
    return closed({"apiVersion": {"const": api_version}, "kind": {"const": kind}, **fields})


# Of the fields that are used, by the documentation of kustomize, the Prometheus operator (v1) and KServe (v1beta1).
SCHEMAS = {
    "Kustomization": custom(
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
        resources={"type": "array", "items": STRING, "uniqueItems": True, "minItems": 1},
    ),
    "ServiceMonitor": custom(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        metadata=METADATA,
        spec=closed(
            {
                "selector": closed({"matchLabels": LABELS}),
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": closed(
                        {"port": STRING},
                        path={"type": "string", "pattern": "^/"},
                        interval={"type": "string", "pattern": r"^\d+(ms|s|m|h)$"},
                        authorization=closed({"credentials": closed({"name": STRING, "key": STRING})}),
                    ),
                },
            }
        ),
    ),
    "InferenceService": custom(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        metadata=METADATA,
        spec=closed(
            {
                "predictor": closed(
                    {"containers": {"type": "array", "minItems": 1}},
                    enableServiceLinks={"type": "boolean"},
                    automountServiceAccountToken={"type": "boolean"},
                    **KSERVES_OWN,
                )
            }
        ),
    ),
}

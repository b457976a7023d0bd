"""What stands in deploy/ and .github/: right among themselves and with the image. `make check` knows their schemas."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings, build
from tests.live import ROOT
from tests.test_docker import IMAGE

DEPLOY = ROOT / "deploy"


def with_key(name: str) -> str:
    """A file of deploy/ with the lines in force that a key needs."""
    return re.sub(r"# ((?:  )?(environment: \{|secrets:|key:|authorization:).*)", r"\1", (DEPLOY / name).read_text())


COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KEYED: dict[str, Any] = yaml.safe_load(with_key("compose.yaml"))


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])
def test_each_service_is_locked_down_and_bounded(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "healthcheck" not in service  # the image's own


def test_the_service_is_built_here_and_given_time_to_leave() -> None:
    service = COMPOSE["services"]["tellapart"]
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert set(service["build"]["args"]) <= set(
        re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    )
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().drain_s
    assert re.fullmatch(r"/tmp:size=\d+m,mode=1777", service["tmpfs"][0])


def test_images_are_pinned_by_tag_and_by_no_digest_that_nobody_looked_up() -> None:
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", COMPOSE["services"]["prometheus"]["image"])


def test_ray_serve_is_given_settings_that_there_are_and_time_for_an_upload() -> None:
    """tests/ray starts what it describes."""
    config = yaml.safe_load((DEPLOY / "ray_serve.yaml").read_text())
    (application,) = config["applications"]
    variables = application["runtime_env"]["env_vars"]
    assert set(variables) <= {f"TELLAPART_{setting.name.upper()}" for setting in fields(Settings)}
    settings = build({}, variables)
    assert (settings.threads, ROOT / settings.model) == (1, Settings().model)
    assert config["http_options"]["request_timeout_s"] > settings.body_timeout_s + settings.request_timeout_s


@pytest.mark.parametrize("text", [(DEPLOY / "prometheus.yml").read_text(), with_key("prometheus.yml")])
def test_prometheus_scrapes_the_service(text: str) -> None:
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"tellapart:{IMAGE.last('EXPOSE')}"]}]
    assert job["metrics_path"] == "/metrics"
    mounted = COMPOSE["services"]["prometheus"]["volumes"][0]
    assert mounted == "./prometheus.yml:/etc/prometheus/prometheus.yml:ro"


def test_a_key_needs_only_the_lines_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(with_key("compose.yaml"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    assert KEYED["secrets"] == {"key": {"file": "key.txt"}}
    assert [service["secrets"] for service in KEYED["services"].values()] == [["key"], ["key"]]
    (job,) = yaml.safe_load(with_key("prometheus.yml"))["scrape_configs"]
    environment = KEYED["services"]["tellapart"]["environment"]
    assert environment == {"TELLAPART_API_KEY_FILE": job["authorization"]["credentials_file"]}
    key = tmp_path / "key.txt"
    key.write_text("secret\n")
    assert build({}, dict.fromkeys(environment, str(key))).api_key == "secret"
    assert "key.txt" in (ROOT / ".gitignore").read_text().split()


def test_the_workflow_runs_make_test_on_the_oldest_python_and_may_only_read() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in workflow["jobs"].items()}
    assert runs == {"test": ["make test"], "audit": ["make audit sbom"]}
    job = workflow["jobs"]["test"]
    assert workflow["permissions"] == {"contents": "read"}
    floor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert job["strategy"]["matrix"]["python"][0] == floor

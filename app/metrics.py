"""What a Prometheus server reads at /metrics. Every label is one of ours, so that no client can make series."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from app.admission import Admission
from app.classifier import Classifier
from app.drift import Drift
from app.errors import Refusal
from app.outcome import Outcome

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says when the first was made

# Seconds. Closest where the parts of an answer on a CPU lie, 2 to 500 ms; up to the longest upload.
BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60),
)
STEPS = {
    "fetch": "Fetching a photo from a URL, from the look-up to the last byte, or to the failure.",
    "wait": "Waiting of an answered photo, or of a request in JSON that is read, for a thread.",
    "read": "Reading a request in JSON, of the other APIs.",
    "decode": "Decoding an answered photo into the network's input.",
    "infer": "The network, on one photo.",
}
# Of a format. prometheus-client fails on those that are no number, and would quote them in its answer.
VERSION = re.compile(r"version=([^;,]*)")
VERSIONS = {"0.0.1", "0.0.4", "1.0.0"}


class Observed(Protocol):
    """What is read when the metrics are."""

    admission: Admission

    @property
    def classifier(self) -> Classifier:
        """Raises Refusal while there is none."""


class Metrics:
    """One service's metrics, in a registry of their own."""

    def __init__(self, service: Observed) -> None:
        registry = self.registry = CollectorRegistry()
        self._requests = Counter(
            "tellapart_requests", "Requests, by what became of them.", ["route", "method", "status"], registry=registry
        )
        self._refusals = Counter(
            "tellapart_refusals",
            "Requests, and single photos of a request, that were refused; by error code.",
            ["route", "code"],
            registry=registry,
        )
        self._answers = Counter(
            "tellapart_answers", "Photos answered, by first class and verdict.", ["class", "verdict"], registry=registry
        )
        self._feedback = Counter(
            "tellapart_feedback", "Labels sent by people, by whether the verdict agrees.", ["agrees"], registry=registry
        )
        self._total = Histogram(
            "tellapart_request_seconds",
            "From a request's head to its answer's, the upload included.",
            ["route"],
            registry=registry,
            buckets=BUCKETS,
        )
        self._steps = {
            step: Histogram(f"tellapart_{step}_seconds", text, registry=registry, buckets=BUCKETS)
            for step, text in STEPS.items()
        }
        self._service = service
        self._drift = Drift()
        registry.register(Now(service))
        registry.register(self._drift)
        ProcessCollector(registry=registry)

    def observe(self, outcome: Outcome) -> None:
        """Count a request that has ended."""
        self._requests.labels(outcome.route, outcome.method, str(outcome.status)).inc()
        self._total.labels(outcome.route).observe(outcome.total_s)
        for step in outcome.steps:
            self._steps[step.name].observe(step.seconds)
        for said in outcome.answers:
            self._answers.labels(said.first, said.verdict).inc()
        if outcome.agreed is not None:
            self._feedback.labels(str(outcome.agreed).lower()).inc()
        if outcome.answers or outcome.agreed is not None:
            with contextlib.suppress(Refusal):
                at_work = self._service.classifier.bundle
                if outcome.bundle == at_work.version:  # else it was replaced meanwhile
                    self._drift.add(at_work, outcome.answers, outcome.agreed)
        for code in outcome.refusals:
            self._refusals.labels(outcome.route, code).inc()

    def page(self, accept: str) -> tuple[bytes, str]:
        """All of it and its content type, in the format that Accept asks for: Prometheus text or OpenMetrics."""
        known = VERSIONS.issuperset(VERSION.findall(accept))
        encode, content_type = choose_encoder(accept if known else "")
        return encode(self.registry), content_type


class Now(Collector):
    """What is so at the moment of reading: the line, and the bundle at work."""

    def __init__(self, service: Observed) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        line = self._service.admission
        yield GaugeMetricFamily(
            "tellapart_running", "Photos being decoded or inferred, and requests in JSON being read.", line.running
        )
        yield GaugeMetricFamily("tellapart_running_max", "How many can be at once: the threads.", line.threads)
        yield GaugeMetricFamily(
            "tellapart_waiting", "Photos, and requests in JSON, waiting for a thread.", line.waiting
        )
        yield GaugeMetricFamily("tellapart_waiting_max", "From how many on requests are refused.", line.max_waiting)
        try:
            classifier = self._service.classifier
        except Refusal:
            return
        bundle = classifier.bundle
        about = {"name": bundle.name, "version": bundle.version, "precision": bundle.precision}
        yield InfoMetricFamily("tellapart_bundle", "The bundle at work.", {**about, "engine": classifier.engine.name})

"""How the last answers compare with what the bundle was trained on, as gauges: photos need not be kept for that."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.answer import OUTSIDE, VERDICTS
from app.bundle import Bundle
from app.card import QUANTILES, Expected
from app.outcome import Said

WINDOW = 1000  # answers: with 3 classes and 414 photos that trained, chance makes a PSI of 0.007 of them
FEWEST = 100  # answers, before which classes say little


class Drift(Collector):
    """The last WINDOW answers of one bundle; another bundle's begin anew."""

    def __init__(self) -> None:
        self._bundle: Bundle | None = None
        self._said: deque[Said] = deque(maxlen=WINDOW)
        self._agreed: deque[bool] = deque(maxlen=WINDOW)

    def add(self, bundle: Bundle, said: Iterable[Said], agreed: bool | None = None) -> None:
        """Answers of that bundle, which is the one at work; whether a person's label was the verdict."""
        if self._bundle is None or self._bundle.version != bundle.version:
            self._bundle = bundle
            self._said.clear()
            self._agreed.clear()
        self._said.extend(said)
        if agreed is not None:
            self._agreed.append(agreed)

    def collect(self) -> Iterator[Metric]:
        """What a scrape reads; nothing before the first answer."""
        if self._agreed:
            share = sum(self._agreed) / len(self._agreed)
            yield GaugeMetricFamily("tellapart_recent_agreement", "Share of labels that were the verdict.", share)
        if self._bundle is None or not self._said:
            return
        expected = self._bundle.expected
        gauge = GaugeMetricFamily
        yield gauge("tellapart_recent_answers", "How many answers the recent_* gauges are of.", len(self._said))
        yield gauge("tellapart_recent_confidence", "Mean probability of the first class.", self._confidence())
        if expected.confidence is not None:
            yield gauge("tellapart_trained_confidence", "The same of judged training photos.", expected.confidence)
        verdicts = Counter(each.verdict for each in self._said)
        unsettled = {name: verdicts[name] / len(self._said) for name in VERDICTS}
        yield _by("tellapart_recent_verdict_share", "Share of answers that name no class.", "verdict", unsettled)
        yield from self._similarities(expected)
        yield from self._classes(self._bundle.classes, expected)

    def _confidence(self) -> float:
        return sum(each.confidence for each in self._said) / len(self._said)

    def _similarities(self, expected: Expected) -> Iterator[Metric]:
        found = [each.similarity for each in self._said if each.similarity is not None]
        if found:
            values = dict(zip(QUANTILES, map(float, np.quantile(found, list(map(float, QUANTILES)))), strict=True))
            yield _by("tellapart_recent_similarity", "Likeness to the photos that trained.", "quantile", values)
        if found and expected.similarity:
            words = "The same of judged training photos."
            yield _by("tellapart_trained_similarity", words, "quantile", expected.similarity)

    def _classes(self, classes: Sequence[str], expected: Expected) -> Iterator[Metric]:
        counted = Counter(each.first for each in self._said if each.verdict != OUTSIDE)
        found = [counted[name] for name in classes]
        if sum(found) < FEWEST:
            return
        shares = {name: count / sum(found) for name, count in zip(classes, found, strict=True)}
        yield _by("tellapart_recent_class_share", "Share of answers that are of the classes.", "class", shares)
        if expected.photos:
            trained = [expected.photos[name] for name in classes]
            shares = {name: count / sum(trained) for name, count in zip(classes, trained, strict=True)}
            yield _by("tellapart_trained_class_share", "Share of the photos that trained.", "class", shares)
            value, chance = psi(found, trained)
            yield GaugeMetricFamily("tellapart_recent_class_psi", "Population stability index of the classes.", value)
            words = "What that stays below in 95 of 100 such windows of photos like those that trained."
            yield GaugeMetricFamily("tellapart_chance_class_psi", words, chance)


def psi(found: Sequence[int], trained: Sequence[int]) -> tuple[float, float]:
    """Population stability index between two counts of C classes, and its 95th percentile by chance alone.

    Σ (f - t) · ln(f / t) over their shares, with half a photo more in each class, so that none is 0 (Siddiqi, "Credit
    Risk Scorecards", 2006, with the rule of thumb that 0.1 is a shift and 0.25 a large one). By chance it is
    (1/n + 1/m) · χ² of C - 1 degrees of freedom (Yurdakul, "Statistical properties of population stability index",
    2018), whose percentile is Wilson and Hilferty's approximation.
    """
    rows = np.array([found, trained], float) + 0.5
    one, other = rows / rows.sum(axis=1, keepdims=True)
    freedom = len(found) - 1
    spread = 2 / (9 * freedom)
    chi2 = freedom * (1 - spread + 1.6449 * math.sqrt(spread)) ** 3
    return float(((one - other) * np.log(one / other)).sum()), chi2 * float((1 / rows.sum(axis=1)).sum())


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family

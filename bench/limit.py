"""The rate that no service on these cores could exceed, from what its parts take by themselves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any


def limit(cores: float, *cpu_ms: float) -> float:
    """Photos per second: the cores over the CPU time, in milliseconds, that the parts of one request take together."""
    return 1000 * cores / sum(cpu_ms)


def of_refusing(cores: float, refusals_cpu_s: float, client_cpu_s: float, cpu_ms: float) -> float:
    """Photos per second that fit beside refusals and load generator, both in seconds of CPU per second."""
    return limit(cores - refusals_cpu_s - client_cpu_s, cpu_ms)


def medians(rounds: Sequence[Any]) -> Any:
    """Rounds of the same shape → that shape with the median in place of each number; what failed is added up."""
    first = rounds[0]
    if isinstance(first, dict):
        return {key: medians([each[key] for each in rounds]) if key != "failed" else _sum(rounds) for key in first}
    known = [value for value in rounds if not math.isnan(value)]
    return statistics.median(known) if known else None


def _sum(rounds: Sequence[dict[str, float]]) -> float:
    return sum(each["failed"] for each in rounds)


def rounded(value: Any) -> Any:
    """Numbers to four significant digits, whatever they are in."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value

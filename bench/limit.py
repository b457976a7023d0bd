"""The rate that no service on these cores could exceed, from what its parts take by themselves."""

from __future__ import annotations


def limit(cores: float, *cpu_ms: float) -> float:
    """Photos per second: the cores over the CPU time, in milliseconds, that the parts of one request take together."""
    return 1000 * cores / sum(cpu_ms)


def beside_refusals(cores: float, refusals_cpu_s: float, client_cpu_s: float, cpu_ms: float) -> float:
    """Photos per second that fit beside the refusals and the load generator, both in seconds of CPU per second."""
    return limit(cores - refusals_cpu_s - client_cpu_s, cpu_ms)

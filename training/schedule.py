"""Learning rates and momenta as pure functions of the position in training."""

from __future__ import annotations

import math

# fastai v1 fit_one_cycle: div_factor 25, pct_start 0.3, moms (0.95, 0.85), final_div div_factor · 1e4
DIV = 25.0
FINAL_DIV = 25e4
PCT_START = 0.3
MOMENTA = (0.95, 0.85)


def anneal(start: float, end: float, position: float) -> float:
    """Half a cosine from `start` (position 0) to `end` (position 1); fastai v1 `annealing_cos`."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * position))


def one_cycle_rate(position: float, peak: float) -> float:
    """The learning rate at `position` (0 to 1): from peak / 25 up over 30 %, then down to peak / 250,000."""
    if position < PCT_START:
        return anneal(peak / DIV, peak, position / PCT_START)
    return anneal(peak, peak / FINAL_DIV, (position - PCT_START) / (1 - PCT_START))


def one_cycle_momentum(position: float) -> float:
    """The momentum (Adam's beta1) at `position`: 0.95 down to 0.85 while the rate rises, and back."""
    high, low = MOMENTA
    if position < PCT_START:
        return anneal(high, low, position / PCT_START)
    return anneal(low, high, (position - PCT_START) / (1 - PCT_START))


def group_rates(lowest: float, highest: float, groups: int) -> list[float]:
    """Peak rates for layer groups, first layers first, evenly spaced on the log scale; fastai v1 `even_mults`."""
    if groups == 1:
        return [highest]
    return [lowest * (highest / lowest) ** (group / (groups - 1)) for group in range(groups)]

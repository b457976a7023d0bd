"""Other servers with our model: LitServe, BentoML, Ray Serve, each in a virtual environment of its own, and a sketch.

`python -m bench.peers` measures every configuration tried; `contenders` are the ones that came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.service import Contender


def contenders() -> list[Contender]:
    """Each rival as its documentation sets it up, and with the same int8 graph; the best configurations tried."""
    from bench.peers import configurations  # not above: the peers import this package too

    return configurations.chosen()

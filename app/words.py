"""What the page says: all of it is in templates/words.json, in two parts, of which the scripts get the second one.

static/page_words.js fills sentences in as this module does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app import doctor
from app.answer import OUTSIDE, UNSURE
from app.settings import ROOT

_parts = json.loads((ROOT / "templates/words.json").read_text("utf-8"))
# `doubts`: the notes on what may make an answer worse
FOR_SCRIPTS: Mapping[str, Any] = {**_parts["scripts"], "doubts": [code for code, _ in doctor.NOTES.values()]}
WORDS: Mapping[str, Any] = {**_parts["page"], **FOR_SCRIPTS}
MOST_NAMED = 8  # classes that the headline names
MOST_OF_A_NAME = 40  # characters of each

# What others called something, whose direction of writing must not turn the rest of a sentence around.
NAMES = ("name", "names", "source")


def say(key: str, **fillings: object) -> str:
    """A sentence with its {places} filled in; in that of `names` goes a list of them."""
    named = {place: _isolated(filling) for place, filling in fillings.items() if place in NAMES}
    return str(WORDS[key]).format(**fillings | named)


def verdict(said: str, names: Sequence[str]) -> str:
    """A verdict in words; `names` are the classes, the likeliest first."""
    if said == UNSURE:
        return say("unsure", names=names[:2])
    return str(WORDS["outside"]) if said == OUTSIDE else said


def percent(probability: float) -> str:
    """A probability in percent."""
    return say("percent", number=f"{100 * probability:.1f}")


def question(classes: Sequence[str]) -> str:
    """The page's headline; `classes` are empty while the service starts."""
    if not classes:
        return say("apart")
    if len(classes) > MOST_NAMED:
        return say("whichOf", count=len(classes))
    return say("which", names=[shortened(name, MOST_OF_A_NAME) for name in classes])


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _isolated(filling: Any) -> str:
    """Between Unicode's marks FSI and PDI."""
    names = [f"\u2068{name}\u2069" for name in ([filling] if isinstance(filling, str) else filling)]
    return str(WORDS["or"]).join(filter(None, (WORDS["and"].join(names[:-1]), names[-1])))

"""A bundle's card in words, for people: the page at /model and the command `check`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.outside import NEAREST

IMPORTED = "imported"
MOST = 500  # characters of a row

Row = tuple[str, str]


def in_words(card: dict[str, Any]) -> list[Row]:
    """(what, how it is) for all that the card tells of the network, its doubts and its training.

    Parts that a bundle may lack are left out. Raises KeyError, TypeError, ValueError or AttributeError for what no
    export writes.
    """
    training = card.get("training") or {}
    calibration = card.get("calibration") or {}
    rows = (
        *_errors(card, training),
        *_confidence(calibration),
        *_refusals(calibration),
        *_origin(training),
        *_precision(card),
    )
    return [(what, _plain(how)) for what, how in rows]


def percent(share: float) -> str:
    """ "5.6 %" """
    return f"{share:.1%}"[:-1] + "\u00a0%"  # a hundred times a stranger's text would be 1.5 GB


def error_rate(rate: dict[str, Any]) -> str:
    """ "23 of 414 photos wrong: 5.6 % (95 % interval 3.7 to 8.2 %)" """
    low, high = rate["wilson95"]
    interval = f"95\u00a0% interval {100 * low:.1f} to {percent(high)}"
    return f"{rate['errors']} of {rate['photos']} photos wrong: {percent(rate['error_rate'])} ({interval})"


def own_rate(card: dict[str, Any]) -> dict[str, Any]:
    """The error rate of the bundle's precision, or of the network that it was made from; {} if unknown."""
    rates = (card.get("metrics") or {}).get("validation") or {}
    found: dict[str, Any] = rates.get(card["precision"]) or rates.get("f32") or {}
    return found


def _plain(text: str) -> str:
    """In one line of a terminal, whatever a stranger's card puts into it."""
    return "".join(c if c.isprintable() or c == "\u00a0" else " " for c in text[:MOST])


def _errors(card: dict[str, Any], training: dict[str, Any]) -> Iterator[Row]:
    if rate := own_rate(card):
        strange = "" if training.get("lane") == IMPORTED else " it was not trained on"
        yield f"Error on photos{strange}", error_rate(rate)
    if training.get("measured"):
        yield "Measured how", training["measured"]


def _confidence(calibration: dict[str, Any]) -> Iterator[Row]:
    if "after" in calibration:
        before, after = calibration["before"], calibration["after"]
        most = f"in 95\u00a0% of cases up to {after['chance95']:.3f}"
        chance = f"a perfectly calibrated network would show {after['chance']:.3f} by chance, {most}"
        error = f"expected calibration error {after['ece']:.3f}, {before['ece']:.3f} before; {chance}"
        yield "Confidence", f"{error} (temperature {calibration['temperature']:.2f}, {calibration['photos']} photos)"


def _refusals(calibration: dict[str, Any]) -> Iterator[Row]:
    if "unsure_below" in calibration:
        share = f"{calibration['unsure_photos']} of its {calibration['photos']} photos"
        errors = f"{calibration['unsure_errors']} of the {calibration['errors']} wrong ones among them"
        yield (
            "Says “not sure”",
            f"where its first class has less than {percent(calibration['unsure_below'])}: {share}, {errors}",
        )
    if "outside_below" in calibration:
        least = f"less than {calibration['outside_below']:.3f}"
        like = f"where the mean cosine to the {NEAREST} photos most alike that trained is {least}"
        yield "Says “none of these”", f"{like}: {percent(calibration['rejected'])} of its own photos"


def _origin(training: dict[str, Any]) -> Iterator[Row]:
    photos = (training.get("data") or {}).get("photos") or {}
    if photos:
        counts = ", ".join(f"{sum(sides.values()):,} {name}" for name, sides in photos.items())
        yield "Photos measured on" if training.get("lane") == IMPORTED else "Trained and measured on", counts
    if training.get("weights"):
        yield "Started from", training["weights"]["source"]
    if (training.get("weights") or {}).get("seen"):
        yield "Which had seen", training["weights"]["seen"]
    if training.get("date"):
        lane = "" if training.get("lane") == IMPORTED else f", {training['lane']} lane" if training.get("lane") else ""
        yield "Imported" if training.get("lane") == IMPORTED else "Trained", training["date"][:10] + lane


def _precision(card: dict[str, Any]) -> Iterator[Row]:
    gates = (card.get("metrics") or {}).get("int8_gate") or {}
    passed = gates.get("int8") or gates.get("int8 weights") if card["precision"] == "int8" else None
    words = ""
    if passed:
        clear = f"float32’s first class in {percent(passed['agreement'])} of {passed['clear_views']:,} clear views"
        words = f": {clear}, probabilities off by {passed['mean_change']:.4f} on average"
    yield "Precision", card["precision"] + words
    if card.get("golden"):
        photos, tolerance = card["golden"]["photos"], card["golden"]["tolerance"]
        shown = "; some are examples on the page" if card["golden"].get("examples") else ""
        yield "Golden photos", f"{len(photos)}, answered anew at every start and held to {tolerance:g}{shown}"

"""All that the page says is in templates/words.json, so that it can be translated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app import respond, words
from app.assets import STATIC
from app.settings import ROOT
from tests.test_page import answer, render, serving, text, without_marks

TEMPLATES = [ROOT / "templates" / f"{name}.html" for name in ("base", "index", "card", "offline")]
USES = re.compile(r"""(?:WORDS|words)\.(\w+)|WORDS\["(\w+)"\]|\b(?:say|trouble)\(\s*"([\w ]+)"|\["([\w ]+)", WORDS\]""")
UNTRANSLATED = {
    "tellapart",
    "aaa",
    "bbb",
    "bears",
    "0123456789ab",
    "60.0",
    "40.0",
    "%",
    "·",
    "turned",
    "upright",
}
PARTS = {f"{down} {across}".strip() for down in ("", "upper", "lower") for across in ("", "left", "right")} - {""}


def used(files: list[Path]) -> set[str]:
    found = {key for file in files for keys in USES.findall(file.read_text()) for key in keys if key}
    return found - {"js", "json", "py"}


def test_none_is_missing_and_none_is_left_over() -> None:
    by_scripts = used([*STATIC.glob("page*.js")]) | PARTS | {"done", "doneBut", "progress"}
    by_scripts |= {f"{key}Hint" for key in by_scripts if f"{key}Hint" in words.WORDS}
    assert by_scripts == set(words.FOR_SCRIPTS)
    assert used([*TEMPLATES, ROOT / "app/words.py"]) | by_scripts == set(words.WORDS)


@pytest.mark.parametrize(
    ("names", "shown"),
    [(["a"], "Not sure: a"), (["a", "b"], "Not sure: a or b"), (["a", "b", "c"], "Not sure: a or b")],
)
def test_names_in_a_row(names: list[str], shown: str) -> None:
    assert without_marks(words.verdict("not sure", names)) == shown


def test_a_name_does_not_turn_the_rest_around() -> None:
    assert words.say("nowhere", name="דב") == "Nothing in the photo speaks for \u2068דב\u2069."
    assert words.say("sure", name="{percent}", percent="9 %") == "\u2068{percent}\u2069 9 %"


@pytest.mark.parametrize(
    "content",
    [
        {},
        answer([["aaa", 0.6], ["bbb", 0.4]], "not sure"),
        answer([["aaa", 0.6], ["bbb", 0.4]], "none of these", heatmap={"class": "aaa", "grid": [[1.0]]}),
        {"kept": True},
    ],
)
def test_the_page_says_nothing_else(monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]) -> None:
    """In a language of brackets all but names, numbers and what the service itself says is in brackets."""
    brackets = {key: f"⟦{said}⟧" if isinstance(said, str) else said for key, said in words.WORDS.items()}
    brackets |= {key: words.WORDS[key] for key in ("and", "or", "lang", "dir", "percent")}
    monkeypatch.setattr(words, "WORDS", brackets)
    monkeypatch.setitem(respond._templates.globals, "words", brackets)
    service = serving(["aaa", "bbb"], feedback_dir=Path("feedback"))
    left = re.sub("⟦[^⟦⟧]*⟧", " ", text(render(content, service).replace("<option>", " ")))
    assert set(left.split()) <= UNTRANSLATED

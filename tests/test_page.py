"""The page as the service renders it, for browsers without JavaScript."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app import respond
from app.assets import version
from app.bundle import read_bundle
from app.errors import Refusal
from app.image import Preprocess
from app.model_card import in_words
from app.settings import Settings
from tests.bundles import SHIPPED

MARKUP = '"><script>alert(1)</script><b>bear</b>'
LONG = "W" * 300
HOSTILE = [MARKUP, LONG, "🐻‍❄️" * 40, "{{ 7 * 7 }}"]


class Starting:
    """A service whose bundle is still being checked."""

    settings = Settings()

    @property
    def classifier(self) -> Any:
        raise Refusal("starting", "The service is starting.", retry_after_s=1)


def serving(classes: list[str], **settings: Any) -> SimpleNamespace:
    """A service at work, as far as the page looks at it."""
    rows = [[float(name == each) for each in classes] for name in classes]
    bundle = SimpleNamespace(
        name="bears",
        version="0123456789ab",
        classes=tuple(classes),
        preprocess=Preprocess(),
        card={"golden": {"examples": True}, "files": {"golden/1.jpg": {"bytes": 1}}},
        golden=[SimpleNamespace(probabilities=row, path=Path("golden/1.jpg")) for row in rows],
    )
    return SimpleNamespace(classifier=SimpleNamespace(bundle=bundle), settings=Settings(**settings))


def render(content: dict[str, Any], service: Any = None, template: str = "index.html", status: int = 200) -> str:
    """The page that a browser gets for `content`; fails on HTML that the policy would refuse or that does not close."""
    scope = {"type": "http", "headers": [(b"accept", b"text/html")], "state": {"service": service}}
    response = respond.answer(scope, template, content, status)
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    html = bytes(response.body).decode()
    Strict().feed(html)
    return html


class Strict(HTMLParser):
    """Fails on inline styles, scripts and handlers, and on elements that are not closed in order."""

    VOID = frozenset({"meta", "link", "input", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert tag != "style"
        assert tag != "script" or "src" in names or dict(attrs)["type"] == "application/json"
        assert not [name for name in names if name == "style" or name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        assert "script" not in self.open or not data.strip() or json.loads(data)


def without_marks(text: str) -> str:
    """Without the marks around names, which nobody sees."""
    return re.sub("[\u2068\u2069]", "", text)


def text(html: str) -> str:
    """What a person reads, white space folded; the blank cards for JavaScript left out."""
    shown = re.sub(r"<template.*?</template>|<head>.*?</head>", "", without_marks(html), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", shown)).split())


def answer(predictions: list[list[Any]], verdict: str | None = None, **more: Any) -> dict[str, Any]:
    image = {"format": "JPEG", "width": 640, "height": 427, "notes": [{"code": "rotated", "text": "turned upright"}]}
    return {"predictions": predictions, "verdict": verdict or predictions[0][0], "image": image, **more}


@pytest.mark.parametrize(
    ("classes", "question"),
    [
        (["black", "grizzly", "teddys"], "Which is it: black, grizzly or teddys?"),
        (["cat", "dog"], "Which is it: cat or dog?"),
        ([str(number) for number in range(120)], "Which of 120 kinds is it?"),
    ],
)
def test_question_names_the_classes(classes: list[str], question: str) -> None:
    html = render({}, serving(classes))
    assert question in text(html)
    assert "not stored" in html
    assert '<a href="/model"><bdi>bears</bdi> 0123456789ab</a>' in html
    assert '<article class="card">' not in re.sub(r"<template.*?</template>", "", html, flags=re.DOTALL)


def test_page_while_the_service_is_starting() -> None:
    shown = text(render({}, Starting()))
    assert "Tell photos apart" in shown
    assert "The service is starting" in shown
    assert "Model:" not in shown


def test_url_box_only_where_urls_are_on() -> None:
    assert 'action="/classify-url"' in render({}, serving(["a", "b"]))
    assert 'action="/classify-url"' not in render({}, serving(["a", "b"], url_hosts="none"))


def test_answer_in_words_bars_and_picture() -> None:
    found = answer([["teddys", 0.98149], ["black", 0.0185]], thumbnail="data:image/jpeg;base64,AA==")
    html = render(found, serving(["black", "teddys"]))
    assert "teddys teddys 98.1 % black 1.8 % JPEG, 640 × 427 · turned upright" in text(html)
    assert '<progress value="0.98149" aria-hidden="true"></progress>' in html
    assert '<img src="data:image/jpeg;base64,AA==" alt="" loading="lazy" decoding="async">' in html
    assert "<title>teddys · tellapart</title>" in html


def test_several_answers_in_order() -> None:
    broken = Refusal("broken_image", "This JPEG file is damaged.").as_json()
    shown = text(render({"results": [answer([["a", 0.9], ["b", 0.1]]), broken, answer([["b", 0.7], ["a", 0.3]])]}))
    assert shown.index("90.0 %") < shown.index("This JPEG file is damaged.") < shown.index("70.0 %")


def test_refusal_in_words_with_its_hint() -> None:
    scope = {"type": "http", "path": "/", "headers": [(b"accept", b"text/html")], "state": {"service": Starting()}}
    response = respond.refusal_response(scope, Refusal("busy", "The service is busy.", retry_after_s=3))
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    shown = text(bytes(response.body).decode())
    assert "The service is busy. Wait as long as Retry-After says" in shown


def test_hostile_names_stay_text() -> None:
    found = answer([[name, 0.25] for name in HOSTILE])
    html = render(found, serving(HOSTILE))
    assert "<b>" not in html
    assert all(name in unescape(html) for name in HOSTILE)
    headings = re.findall(r"<h1>.*?</h1>|<title>.*?</title>", html, re.DOTALL)
    assert len(headings) == 2
    assert not any(LONG in heading for heading in headings)


def test_model_page_of_the_shipped_bundle() -> None:
    bundle = read_bundle(SHIPPED)
    rate = bundle.card["metrics"]["validation"]["f32"]
    shown = text(render(model(**bundle.card), template="model.html"))
    assert f"{rate['errors']} of {rate['photos']} photos wrong" in shown
    assert "95 % interval" in shown
    for what, how in in_words(bundle.card):
        assert f"{what}{how}".replace("\u00a0", " ") in shown
    after = bundle.card["calibration"]["after"]
    assert f"expected calibration error {after['ece']:.3f}" in shown
    assert f"{after['bins'][-1]['photos']}{100 * after['bins'][-1]['confidence']:.1f} %" in shown
    assert "openvino, 2 photos at once on 2 cores; up to 64 more may wait" in shown
    for words in (bundle.version, *bundle.classes, bundle.precision, bundle.card["training"]["lane"]):
        assert words in shown
    assert f'"version": "{bundle.version}"' in shown


def test_model_page_of_an_imported_network_claims_nothing_about_its_training() -> None:
    card = read_bundle(SHIPPED).card
    training = {"lane": "imported", "date": "2026-11-25", "measured": "By a network that was trained elsewhere."}
    shown = text(render(model(**{**card, "training": training}), template="model.html"))
    assert "By a network that was trained elsewhere." in shown
    assert "Imported" in shown
    assert "not trained on" not in shown
    assert "Error on photos it was not trained on" in text(render(model(**card), template="model.html"))


def test_model_page_of_a_bare_hostile_bundle() -> None:
    html = render(model(name=MARKUP, version="v", classes=HOSTILE, precision="f32"), template="model.html")
    assert "<b>" not in html
    assert MARKUP in unescape(html)
    assert "photos wrong" not in html


def model(**card: Any) -> dict[str, Any]:
    return {**card, "plan": {"engine": "openvino", "threads": 2, "usable_cores": 2, "max_waiting": 64}}


def test_assets_carry_a_hash_of_their_content() -> None:
    assert f'<script type="module" src="/static/{version()}/page.js"></script>' in render({})
    assert f'<link rel="stylesheet" href="/static/{version()}/page.css">' in render({})


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("not sure", "Not sure: grizzly or black grizzly 50.0 %"),
        ("none of these", "None of these It looks like none of the photos this model learned from. grizzly 50.0 %"),
    ],
)
def test_verdicts_in_words(verdict: str, words: str) -> None:
    assert words in text(render(answer([["grizzly", 0.5], ["black", 0.3], ["teddys", 0.2]], verdict)))


@pytest.mark.parametrize(
    ("corner", "cells", "words"), [(0.5, 1, "Where a was seen"), (0.0, 0, "Nothing in the photo speaks for a.")]
)
def test_heat_map_without_javascript(corner: float, cells: int, words: str) -> None:
    grid = [[corner, 0.0], [0.0, 0.0]]
    html = render(answer([["a", 0.9], ["b", 0.1]], heatmap={"class": "a", "grid": grid, "box": [0.1, 0.1, 0.8, 0.8]}))
    assert words in text(html)
    assert html.count('<rect x="0" y="0" width="1" height="1" fill-opacity="0.5"/>') == cells
    assert html.count("<rect") == cells

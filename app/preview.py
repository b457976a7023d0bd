"""An answer in a line of plain text, and what a link to it shows where people share it (Open Graph, https://ogp.me)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from app import words
from app.assets import asset

# Pages put it into commands to be pasted, so it must hold nothing that a shell would act on.
BASE = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?")
MOST_OF_A_NAME = 60  # characters
SHOWN = 3  # classes of a description


def base_of(request: Request, port: int) -> str:
    """Where the client reaches the service, without a slash at the end; a proxy may say that it does so by https."""
    url = request.base_url
    if request.headers.get("x-forwarded-proto") == "https":
        url = url.replace(scheme="https")
    base = str(url).rstrip("/")
    return base if BASE.fullmatch(base) else f"http://127.0.0.1:{port}"


def link(request: Request, port: int, url: str) -> dict[str, str]:
    """The address of the answer for the photo at `url`, and of the picture beside a link to it.

    The picture is our icon. The photo's own address would have every reader's program ask a stranger's server, and
    could show anything under our name by then; a thumbnail would have to be kept.
    """
    base = base_of(request, port)
    return {"url": f"{base}/classify-url?{urlencode({'url': url})}", "image": base + asset("icon-512.png")}


def in_short(found: Mapping[str, Any]) -> str:
    """The verdict in words."""
    return words.verdict(_short(found["verdict"]), [_short(name) for name, _ in found["predictions"]])


def likeliest(found: Mapping[str, Any]) -> str:
    """The first classes with their probabilities."""
    said = (words.say("sure", name=_short(name), percent=words.percent(p)) for name, p in found["predictions"][:SHOWN])
    return ", ".join(said)


def _short(name: str) -> str:
    return words.shortened(name, MOST_OF_A_NAME)

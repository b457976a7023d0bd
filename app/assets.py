"""What pages are made of: the files in static/, at addresses that change with them."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.settings import ROOT

STATIC = ROOT / "static"
VERSION = re.compile("[0-9a-f]{12}")
FOR_EVER = "public, max-age=31536000, immutable"


@cache
def version() -> str:
    """12 hex digits over all files of static/, names and contents."""
    files = sorted(path for path in STATIC.iterdir() if path.is_file())
    content = b"".join(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest() for path in files)
    return hashlib.sha256(content).hexdigest()[:12]


def asset(name: str) -> str:
    """The URL of a static file: /static/VERSION/NAME. Scripts import each other as neighbours, so of one version."""
    return f"/static/{version()}/{name}"


class Assets(StaticFiles):
    """Serves static/ below /static, with a version before the name or without. A browser may keep what it got by the
    version of today for ever; anything else it must ask about again."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    def get_path(self, scope: Scope) -> str:
        first, _, rest = super().get_path(scope).partition("/")
        return rest if rest and VERSION.fullmatch(first) else "/".join(filter(None, (first, rest)))

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        own = f"/static/{version()}/" in scope["path"]
        response.headers["Cache-Control"] = FOR_EVER if own else "no-cache"
        return response


ASSETS = Assets()


async def from_root(request: Request) -> Response:
    """GET /sw.js and /manifest.webmanifest: of static/, but at the root, for a worker rules only what lies below it."""
    return await ASSETS.get_response(request.url.path[1:], request.scope)


ROUTES: list[BaseRoute] = [
    Route("/manifest.webmanifest", from_root, include_in_schema=False),
    Route("/sw.js", from_root, include_in_schema=False),
    Mount("/static", ASSETS),
]

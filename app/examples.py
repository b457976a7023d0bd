"""Photos to try the page with: golden ones of the bundle at work, where its export allowed to show them."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.assets import FOR_EVER
from app.bundle import Bundle
from app.bundle_files import read_own
from app.errors import BundleError, Refusal
from app.formats import sniff

MOST = 6
MOST_BYTES = 500_000  # of each: they are pictures of 56 pixels, for everyone. An export's own copies have some 30,000


def addresses(bundle: Bundle) -> list[str]:
    """Where the page finds them: another bundle's are elsewhere, so that a browser may keep them for ever."""
    return [f"/examples/{bundle.version}/{number}" for number in chosen(bundle)]


def chosen(bundle: Bundle) -> list[int]:
    """For each class, up to MOST, the place of the golden photo that is most like it."""
    if not bundle.card["golden"].get("examples"):
        return []
    small = [place for place in range(len(bundle.golden)) if entry(bundle, place)["bytes"] <= MOST_BYTES]
    best = [
        max(small, key=lambda place: bundle.golden[place].probabilities[index])
        for index in range(len(bundle.classes[:MOST]))
        if small
    ]
    return list(dict.fromkeys(best))


def entry(bundle: Bundle, place: int) -> dict[str, Any]:
    """What the card says of a golden photo's file: {sha256, bytes}."""
    return dict(bundle.card["files"][f"golden/{bundle.golden[place].path.name}"])


async def example(request: Request) -> Response:
    """GET /examples/VERSION/NUMBER: the photo as it is."""
    bundle: Bundle = request.state.service.classifier.bundle
    nothing = Refusal("not_found", "There is nothing at this address.")
    if request.url.path not in addresses(bundle):
        raise nothing
    place = int(request.path_params["number"])
    try:
        data = await asyncio.to_thread(read_own, bundle.folder, f"golden/{bundle.golden[place].path.name}", MOST_BYTES)
    except (OSError, BundleError):
        raise nothing from None
    # Another export may have put its own photos there, which nobody may have released.
    if hashlib.sha256(data).hexdigest() != entry(bundle, place)["sha256"]:
        raise nothing
    return Response(data, media_type=f"image/{sniff(data)}".lower(), headers={"Cache-Control": FOR_EVER})


ROUTES: list[BaseRoute] = [Route("/examples/{version}/{number}", example, include_in_schema=False)]

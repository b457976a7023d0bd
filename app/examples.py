"""Photos to try the page with: golden ones of the bundle at work, where its export allowed to show them."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.assets import FOR_EVER
from app.bundle import Bundle
from app.bundle_files import read_own
from app.card import MOST_PHOTO_BYTES
from app.errors import BundleError, Refusal
from app.formats import sniff

MOST = 6


def addresses(bundle: Bundle) -> list[str]:
    """Where the page finds them: another bundle's are elsewhere, so that a browser may keep them for ever."""
    return [f"/examples/{bundle.version}/{number}" for number in chosen(bundle)]


def chosen(bundle: Bundle) -> list[int]:
    """For each class, up to MOST, the place of the golden photo that is most like it."""
    if not bundle.card["golden"].get("examples"):
        return []
    rows = [photo.probabilities for photo in bundle.golden]
    best = (max(range(len(rows)), key=lambda place: rows[place][index]) for index in range(len(bundle.classes[:MOST])))
    return list(dict.fromkeys(best))


async def example(request: Request) -> Response:
    """GET /examples/VERSION/NUMBER: the photo as it is."""
    bundle: Bundle = request.state.service.classifier.bundle
    nothing = Refusal("not_found", "There is nothing at this address.")
    if request.url.path not in addresses(bundle):
        raise nothing
    photo = bundle.golden[int(request.path_params["number"])].path
    try:
        data = await asyncio.to_thread(read_own, bundle.folder, f"golden/{photo.name}", MOST_PHOTO_BYTES)
    except (OSError, BundleError):  # taken away meanwhile
        raise nothing from None
    return Response(data, media_type=f"image/{sniff(data)}".lower(), headers={"Cache-Control": FOR_EVER})


ROUTES: list[BaseRoute] = [Route("/examples/{version}/{number}", example, include_in_schema=False)]

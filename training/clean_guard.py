"""Who may talk to the clean page: only the browser that was given the printed address, from this page itself.

Other programs of this machine can reach 127.0.0.1, and so can any web page that the same browser shows; so a request
must know the token, call us by our own name (against DNS rebinding), and, if it changes anything, come from our page.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send


class Guard:
    """Lets a request through that carries the token, as ?token= on the first visit and as a cookie from then on."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app = app
        self.token = token
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        # Cookies do not know ports: a page of another run, at another port, must not take ours away.
        self.cookie = f"tellapart-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (self._answer(scope) or self.app)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """The guard's own answer: a refusal, or the first visit's redirect; None to let the request through."""
        asked = HTTPConnection(scope)
        if asked.headers.get("host") not in self.hosts:
            return PlainTextResponse("This page answers only at 127.0.0.1.", 403)
        if scope["method"] not in ("GET", "HEAD") and not _from_our_page(asked.headers):
            return PlainTextResponse("This was sent by another page.", 403)
        if self._same(asked.cookies.get(self.cookie, "")) and "token" not in asked.query_params:
            return None
        if scope["path"] == "/" and self._same(asked.query_params.get("token", "")):
            response = RedirectResponse("/", 303)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return response
        return PlainTextResponse("Open the whole address that the command printed: its token opens this page.", 403)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())


def _from_our_page(headers: Headers) -> bool:
    """Whether a browser sent this from a page at this very address; what sends no such header is no browser."""
    here = f"http://{headers['host']}"
    return headers.get("origin", here) == here and headers.get("sec-fetch-site", "same-origin") == "same-origin"

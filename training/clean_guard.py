"""Who may talk to the clean page: only a browser tab that was given the printed address.

Other users and programs of this machine can reach 127.0.0.1, and so can any web page that the same browser shows. So a
request must call us by our own name (against DNS rebinding), and what tells of the run or changes anything must carry
the token in a header, which no other page can make a browser send. Not in a cookie: browsers hand those to whatever
else listens at 127.0.0.1, be the port what it may. Not in a query: those end up in histories and logs.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send


class Guard:
    """Lets a request through that has our name as Host and `Authorization: Bearer TOKEN`.

    The empty page and its static files need no token: they tell nothing, and clean.js is what finds it in the address.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app = app
        self.expected = f"Bearer {token}".encode()
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (self._refusal(scope) or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.getlist("host") not in ([host] for host in self.hosts):
            return JSONResponse({"error": f"This page answers only at {self.hosts[0]}."}, 403)
        if scope["path"] == "/" or scope["path"].startswith("/static/"):
            return None
        if hmac.compare_digest(headers.get("authorization", "").encode("latin-1"), self.expected):
            return None
        return JSONResponse({"error": "Open the whole address that the command printed: its end opens this page."}, 403)

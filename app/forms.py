"""Reading multipart/form-data: Starlette's parser with everything in memory, without forms cut short."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.errors import Refusal

MAX_FILES = 64
MAX_FIELD_BYTES = 4096  # of what is no file


class FormParser(MultiPartParser):
    """Raises MultiPartException for a form that ends before its last boundary, and for one with too many of them.

    Starlette would leave out the part that was cut, so that of two photos one would be answered as if it were all. And
    a line that begins like a boundary and is none takes its parser 1 µs: 20 MB of those, 3 s.
    """

    spool_max_size = sys.maxsize  # in memory: a stranger's photo never touches the disk; BodyLimits bounds it

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], **limits: Any) -> None:
        super().__init__(headers, self._whole(stream), **limits)
        self.ended = False
        self._boundary = b"\r\n--" + parse_options_header(headers["content-type"])[1][b"boundary"]

    def on_end(self) -> None:
        self.ended = True

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        boundaries = 0
        async for chunk in stream:
            boundaries += chunk.count(self._boundary)
            if boundaries > self.max_files + self.max_fields:
                raise MultiPartException("it has too many parts")
            yield chunk
        if not self.ended:
            raise MultiPartException("it ends too early")


async def read_form(request: Request) -> tuple[list[bytes], list[str]]:
    """The bytes of every file in the form field `file`, and every text in `label`. Raises Refusal."""
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary or b'"' in boundary or b"\\" in boundary:
        raise Refusal("no_file", "This is not a multipart/form-data request with a boundary.")
    # the boundary alone: a charset of the client's choosing could be one that takes quadratic time
    headers = Headers({"content-type": f'multipart/form-data; boundary="{boundary.decode("latin-1")}"'})
    limits = {"max_files": MAX_FILES, "max_fields": MAX_FILES, "max_part_size": MAX_FIELD_BYTES}
    parser = FormParser(headers, request.stream(), **limits)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal("bad_request", f"The form cannot be read: {error.message.rstrip('.')}.") from error
    try:
        files = [item for item in form.getlist("file") if isinstance(item, UploadFile) and (item.filename or item.size)]
        if not files:
            raise Refusal("no_file", "There is no file in the field 'file'.")
        return [await item.read() for item in files], [item for item in form.getlist("label") if isinstance(item, str)]
    finally:
        await form.close()

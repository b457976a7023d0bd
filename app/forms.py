"""Reading multipart/form-data: Starlette's parser with everything in memory, and without forms cut short."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser


class FormParser(MultiPartParser):
    """Raises MultiPartException for a form that ends before its last boundary.

    Starlette would leave out the part that was cut, so that of two photos one would be answered as if it were all.
    """

    spool_max_size = sys.maxsize  # in memory: a stranger's photo never touches the disk; BodyLimits bounds it

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], **limits: Any) -> None:
        super().__init__(headers, self._whole(stream), **limits)
        self.ended = False

    def on_end(self) -> None:
        self.ended = True

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if not self.ended:
            raise MultiPartException("it ends too early")

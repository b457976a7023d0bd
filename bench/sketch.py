"""What a good engineer writes in an afternoon: Starlette, a thread pool, OpenVINO on the int8 graph, and no more.

Same bundle, same decode, same answers as tellapart. Run: `python -m bench.sketch PORT [THREADS]`.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.classifier import load_classifier
from app.cpu import usable_cores


def application(threads: int) -> Starlette:
    """The application, its model loaded: `threads` photos are decoded and classified at once."""
    classifier = load_classifier(Path("models/bears"), "openvino", min(threads, usable_cores()))
    pool = ThreadPoolExecutor(threads)

    async def upload(request: Request) -> JSONResponse:
        form = await request.form()
        photo = await cast(UploadFile, form["file"]).read()
        answer = await asyncio.get_running_loop().run_in_executor(pool, classifier.classify, photo)
        return JSONResponse({"predictions": answer.predictions})

    async def readyz(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ready"})

    return Starlette(routes=[Route("/upload", upload, methods=["POST"]), Route("/readyz", readyz)])


if __name__ == "__main__":
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else usable_cores()
    uvicorn.run(application(threads), port=int(sys.argv[1]), log_level="warning")

"""Ray Serve with our model: `.venv-peers/ray/bin/python -m bench.peers.rays PORT ENGINE [options]`.

A Ray of its own on this machine alone: no dashboard, a small object store, its files in a folder that goes with it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import serve
from ray.serve.config import HTTPOptions
from starlette.requests import Request
from starlette.responses import JSONResponse

from bench.peers.models import Array, classify, load


async def photo_of(request: Request) -> bytes:
    """The photo of a form."""
    form = await request.form()
    return await form["file"].read()  # type: ignore[union-attr]


class Blocking:
    """Everything in the handler, as in Ray's image example; parallel by replicas."""

    def __init__(self, engine: str, threads: int) -> None:
        self.model = load(engine, threads)

    async def __call__(self, request: Request) -> JSONResponse:
        return JSONResponse({"predictions": classify(self.model, await photo_of(request))})


class Threaded(Blocking):
    """A pool of threads in each replica."""

    def __init__(self, engine: str, threads: int) -> None:
        super().__init__(engine, threads)
        self.pool = ThreadPoolExecutor(threads)

    async def __call__(self, request: Request) -> JSONResponse:
        photo = await photo_of(request)
        loop = asyncio.get_running_loop()
        return JSONResponse({"predictions": await loop.run_in_executor(self.pool, classify, self.model, photo)})


class Batching(Blocking):
    """Ray's dynamic request batching."""

    async def __call__(self, request: Request) -> JSONResponse:
        pixels = self.model.pixels(await photo_of(request))
        return JSONResponse({"predictions": await self.predict(pixels)})

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.0)
    async def predict(self, pixels: list[Array]) -> list[Any]:
        return self.model.predict(np.stack(pixels))


# Even with its usage statistics off, Ray asks the network which cloud this is, unless a file in HOME says so.
NO_CLOUD = '{"provider": {"type": "local"}}'

HANDLERS = {"blocking": Blocking, "threaded": Threaded, "batching": Batching}


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("engine")
    parser.add_argument("--handler", choices=HANDLERS, default="blocking")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ongoing", type=int, default=5, help="max_ongoing_requests of a replica")
    parser.add_argument("--quiet", action="store_true", help="no access log")
    args = parser.parse_args()
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        os.environ["HOME"] = folder
        Path(folder, "ray_bootstrap_config.yaml").write_text(NO_CLOUD)
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
        )
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=args.port))
        deployment = serve.deployment(HANDLERS[args.handler]).options(
            num_replicas=args.replicas,
            max_ongoing_requests=args.ongoing,
            ray_actor_options={"num_cpus": 2 / args.replicas},
            logging_config={"enable_access_log": not args.quiet},
        )
        serve.run(deployment.bind(args.engine, args.threads))
        haproxy = Path("/tmp/haproxy-serve", ray.get_runtime_context().get_node_id())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()
        ray.shutdown()
        shutil.rmtree(haproxy, ignore_errors=True)


if __name__ == "__main__":
    main()

"""LitServe with our model: `.venv-peers/litserve/bin/python -m bench.peers.lit PORT ENGINE [options]`."""

import argparse
import asyncio
from typing import Any

import litserve
from fastapi import Request

from bench.peers.models import Array, Model, load


class Classifier(litserve.LitAPI):
    """Decode, predict and encode in an inference worker, as LitServe's image examples do."""

    def __init__(self, engine: str, threads: int, **options: Any) -> None:
        super().__init__(api_path="/upload", **options)
        self.engine, self.threads = engine, threads

    def setup(self, device: str) -> None:
        self.model: Model = load(self.engine, self.threads)

    def decode_request(self, request: Request) -> Any:
        return self.model.pixels(request["file"].file.read())

    def predict(self, x: Array) -> Any:
        return self.model.predict(x if self.max_batch_size > 1 else x[None])

    def encode_response(self, output: Any):  # type: ignore[no-untyped-def]  # it would be FastAPI's response model
        return {"predictions": output if self.max_batch_size > 1 else output[0]}


class AsyncClassifier(Classifier):
    """The same in one worker with several threads."""

    async def decode_request(self, request: Request) -> Any:
        return request["file"].file.read()

    async def predict(self, x: bytes) -> Any:  # type: ignore[override]
        return await asyncio.to_thread(lambda: self.model.predict(self.model.pixels(x)[None]))

    async def encode_response(self, output: Any):  # type: ignore[no-untyped-def]
        return {"predictions": output[0]}


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("engine")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--wait-s", type=float, default=0.0)
    parser.add_argument("--api-servers", type=int)
    parser.add_argument("--fast-queue", action="store_true")
    parser.add_argument("--asynchronous", action="store_true")
    args = parser.parse_args()
    if args.asynchronous:
        api: Classifier = AsyncClassifier(args.engine, args.threads, enable_async=True)
    else:
        api = Classifier(args.engine, args.threads, max_batch_size=args.batch, batch_timeout=args.wait_s)
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=args.workers, fast_queue=args.fast_queue
    )
    server.run(
        host="127.0.0.1",
        port=args.port,
        num_api_servers=args.api_servers,
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()

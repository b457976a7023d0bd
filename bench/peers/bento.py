"""BentoML with our model: `bentoml serve bench.peers.bento:Classifier --arg engine=int8 …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from pydantic import BaseModel

from bench.peers.models import classify, load


class Arguments(BaseModel):
    """What may follow `--arg`. `quiet` turns BentoML's access log and its metrics off."""

    engine: str = "int8"
    workers: int = 1
    threads: int = 1
    inference_threads: int = 1
    batch: int = 8
    latency_ms: int = 60_000
    quiet: bool = True


arguments = bentoml.use_arguments(Arguments)
options: dict[str, Any] = {"traffic": {"timeout": 60}}
if arguments.quiet:
    options |= {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}


@bentoml.service(workers=arguments.workers, threads=arguments.threads, **options)
class Classifier:
    """A synchronous endpoint, which BentoML runs in `threads` threads of each of `workers` processes."""

    def __init__(self) -> None:
        self.model = load(arguments.engine, arguments.inference_threads)

    @bentoml.api(route="/upload")
    def upload(self, file: Path) -> dict[str, Any]:
        return {"predictions": classify(self.model, file.read_bytes())}


@bentoml.service(workers=arguments.workers, threads=1, **options)
class Batches:
    """Adaptive batching, in processes of its own."""

    def __init__(self) -> None:
        self.model = load(arguments.engine, arguments.inference_threads)

    @bentoml.api(batchable=True, max_batch_size=arguments.batch, max_latency_ms=arguments.latency_ms)
    def predict(self, photos: np.ndarray) -> list[Any]:
        return self.model.predict(photos)


@bentoml.service(workers=1, threads=2, **options)
class Batching:
    """Takes and decodes photos, and lets Batches classify them: the layout of BentoML's page on adaptive batching."""

    batches = bentoml.depends(Batches)

    def __init__(self) -> None:
        self.model = load(arguments.engine, 1)

    @bentoml.api(route="/upload")
    async def upload(self, file: Path) -> dict[str, Any]:
        pixels = self.model.pixels(file.read_bytes())  # noqa: ASYNC240 (a file of 60 KB, just written)
        return {"predictions": (await self.batches.to_async.predict(pixels[None]))[0]}

"""tellapart on Ray Serve: the app of `python -m app serve`, as replicas that come and go with the load.

`serve run deploy/ray_serve.yaml`; docs/deploy.md says more. Settings are the TELLAPART_* variables of the processes
that Ray starts for the replicas. Ray's own proxy listens, so what belongs to our server (--host, --port) has no say.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: nothing phones home

import ray
from pydantic import BaseModel, ConfigDict, PositiveInt
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.cpu import Plan
from app.main import create_app
from app.service import waiting_room
from app.settings import Settings, build


class Scale(BaseModel):
    """How many replicas there may be: the arguments of the application."""

    model_config = ConfigDict(extra="forbid")

    min_replicas: PositiveInt = 1
    max_replicas: PositiveInt = 4


def tellapart(arguments: dict[str, Any]) -> serve.Application:
    """The application for Ray Serve, with the arguments of its configuration. Raises SettingError, ValueError."""
    scale, settings = Scale.model_validate(arguments), read_settings()
    plan = Plan(settings.threads or 1)
    room = plan.workers + waiting_room(settings, plan)
    return serve.deployment(
        Replica,
        name="tellapart",
        ray_actor_options={"num_cpus": plan.streams},
        # As many as there are workers: at 80 % of two cores' peak 3.1 requests were under way (docs/bench.md, by the
        # median of 42 ms).
        autoscaling_config=AutoscalingConfig(
            min_replicas=scale.min_replicas, max_replicas=scale.max_replicas, target_ongoing_requests=plan.workers
        ),
        max_ongoing_requests=room,
        max_queued_requests=room,
        backpressure_config=BackpressureConfig(retry_after_s=1),
        graceful_shutdown_timeout_s=settings.drain_s,
        max_constructor_retry_count=3,  # a bundle that is refused stays refused
        logging_config={"enable_access_log": False},  # our log has a line for each
    ).bind()


def read_settings() -> Settings:
    """The settings of this process. Raises SettingError."""
    return build({}, os.environ)


@serve.ingress()
class Replica:
    """One replica: the app with its own bundle, engine and line, on as many cores as Ray counts for it."""

    def __init__(self) -> None:
        threads = max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
        self._settings = replace(read_settings(), threads=threads)
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = logs.writing(self._settings.log_format)
        self._log.__enter__()  # for as long as the process lives

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Ray, which then runs the app's lifespan."""
        self._app = create_app(self._settings, loaded=self._on_loaded)
        return BehindRay(self._app)

    async def check_health(self) -> None:
        """Return if /readyz says 200; wait for the bundle first: Ray sends requests only after the first return.

        Raises BundleError or Refusal.
        """
        await asyncio.shield(self._loaded)
        self._app.state.service.check_ready()

    def _on_loaded(self, error: BaseException | None) -> None:
        if error is None:
            self._loaded.set_result(None)
        else:
            logs.log.error(error)
            self._loaded.set_exception(error)


class BehindRay:
    """The app as Ray's proxy needs it. What the lifespan made is put into each request's state, which other servers do;
    the proxy names the request in the answer by the id that we were given, so we do not do so again. Of a client that
    has left, receiving may raise an error of Ray's before the request is cancelled."""

    def __init__(self, app: Starlette) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_or_gone() -> Message:
            try:
                return await receive()
            except Exception:  # noqa: BLE001 (whatever it is, nothing more comes)
                return {"type": "http.disconnect"}

        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.lower() != b"x-request-id"]
                message = {**message, "headers": kept}
            await send(message)

        if scope["type"] == "http":
            scope["state"] = {"service": self.app.state.service}
        await self.app(scope, receive_or_gone if scope["type"] == "http" else receive, send_without_id)

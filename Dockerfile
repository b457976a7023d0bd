# The service on CPU: no torch, no compiler, not root.
# Pin the base to a digest of your choosing: docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY pyproject.toml ./
# hadolint ignore=DL3013,DL3042
RUN python -m venv /venv \
    && python -m pip install --no-cache-dir uv \
    && uv pip install --no-cache --python /venv/bin/python -r pyproject.toml \
    && /venv/bin/python -m pip uninstall --yes pip setuptools

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home tellapart
WORKDIR /tellapart
COPY --from=build /venv /venv
COPY app app
COPY static static
COPY templates templates
ARG MODEL=models/bears
COPY ${MODEL} models/bears
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TELLAPART_HOST=0.0.0.0
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-m", "app.healthcheck"]
CMD ["python", "-m", "app", "serve"]

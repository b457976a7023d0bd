# The service on CPU: no torch, no compiler, not root. How to build and run it: docs/deploy.md
# To pin the base, look up its digest and build on that:
#   docker pull python:3.11-slim-bookworm
#   docker build --build-arg BASE="$(docker inspect --format '{{index .RepoDigests 0}}' python:3.11-slim-bookworm)" .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY requirements.txt ./
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes -r requirements.txt
# Of OpenVINO, the CPU plugin and the ONNX and IR frontends serve; what goes here weighs 80 MB.
RUN find /venv/lib/python3*/site-packages/openvino -regextype egrep -regex '.*/(include|cmake|libs/cache\.json\
|libs/libopenvino_intel_[gn]pu_plugin\.so|libs/libopenvino_(gguf|jax|paddle|pytorch|tensorflow|tensorflow_lite)_frontend\..*\
|frontend/(jax|paddle|pytorch|tensorflow))' -prune -exec rm -r {} +

FROM ${BASE}
LABEL org.opencontainers.image.title="tellapart" \
    org.opencontainers.image.description="Tells photos apart: a photo in, the probability of each class out." \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN python -B -m pip uninstall --yes --root-user-action ignore pip setuptools wheel \
    && useradd --no-log-init --uid 10001 --no-create-home --shell /usr/sbin/nologin tellapart \
    && test -s /etc/ssl/certs/ca-certificates.crt
WORKDIR /tellapart
COPY --from=build /venv /venv
COPY LICENSE ./
COPY app app
COPY static static
COPY templates templates
ARG MODEL=models/bears
COPY ${MODEL} models/bears
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TELLAPART_HOST=0.0.0.0
# A bundle that does not give its golden answers here ends the build. What serving imports is compiled on the way: at
# run time nothing can be written, and the base image has no .pyc at all.
RUN unset PYTHONDONTWRITEBYTECODE \
    && python -m app check models/bears \
    && python -c 'import app.server, app.healthcheck'
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-m", "app.healthcheck"]
CMD ["python", "-m", "app", "serve"]

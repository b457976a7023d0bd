# make serve: the service, with only what serving needs.   make test: everything, a real browser included.
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help serve test test-ray check audit sbom bench bench-peers lock image clean .venv .venv-test

help:
	@echo "make serve   serve the bundled bears at http://127.0.0.1:8000 (settings: TELLAPART_*, see README.md)"
	@echo "make test    lint, types and every test, a real browser included (CORPUS=DIR: on the files of DIR too)"
	@echo "make test-ray   the tests of deploy/ray_serve.py: a real Ray on this machine, which it installs in .venv-ray (0.6 GB)"
	@echo "make check   lint, types and security rules only"
	@echo "make audit   known weaknesses of what serving needs (asks PyPI, so it needs a connection)"
	@echo "make sbom    sbom.json: what serving needs, as CycloneDX"
	@echo "make bench   the figures in docs/bench.md, measured on this machine in some 40 minutes (the rivals' rows go)"
	@echo "make bench-peers   the same beside LitServe, BentoML, Ray Serve, which it installs in .venv-peers (6 GB each)"
	@echo "make image   the container image tellapart, by docker (ENGINE=podman: by podman); see docs/deploy.md"
	@echo "make lock    requirements.txt anew: the newest versions that pyproject.toml allows, with their hashes (EXTRA=traces: of that extra too)"

serve: .venv/.installed
	@exec .venv/bin/python -m app serve

test: check
	.venv-test/bin/python -m pytest

# Ray and what it needs warn at import, which make test would take for errors.
test-ray: .venv-ray/.installed
	.venv-ray/bin/python -m pytest -W ignore tests/ray

check: .venv-test/.installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/bandit --quiet --recursive app training
	.venv-test/bin/hadolint Dockerfile
	.venv-test/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	.venv-test/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/test.yml

audit: .venv-test/.installed
	.venv-test/bin/pip-audit --requirement requirements.txt --require-hashes --disable-pip --strict --progress-spinner off \
		|| { echo "make audit: a weakness, listed above, or not everything could be looked up: it asks pypi.org"; exit 1; }

sbom: .venv-test/.installed
	.venv-test/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file sbom.json requirements.txt

bench: .venv-test/.installed
	.venv-test/bin/python -m bench
	.venv-test/bin/python -m bench.plans
	.venv-test/bin/python -m bench.overload
	.venv-test/bin/python -m bench.soak
	.venv-test/bin/python -m bench.start
	.venv-test/bin/python -m bench.report docs/bench.json

PEERS = .venv-peers/litserve .venv-peers/bentoml .venv-peers/ray
bench-peers: .venv-test/.installed $(PEERS:%=%/.installed)
	.venv-test/bin/python -m bench --peers
	.venv-test/bin/python -m bench.report docs/bench.json

lock: .venv/.installed
	.venv/bin/uv pip compile --quiet --upgrade --python-version 3.11 --python-platform linux --only-binary :all: \
		--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		$(if $(EXTRA),--extra $(EXTRA)) --output-file requirements.txt pyproject.toml

ENGINE ?= docker
MODEL ?= models/bears
image:
	$(ENGINE) build $(if $(findstring podman,$(ENGINE)),--format docker) --tag tellapart --build-arg MODEL=$(MODEL) \
		--label org.opencontainers.image.revision=$$(git rev-parse HEAD) .

.venv .venv-test: %: %/.installed

# uv resolves in seconds and hard-links wheels from its cache; nothing but Python and make is needed beforehand.
define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv
endef

.venv/.installed: pyproject.toml
	$(call venv,.venv)
	@.venv/bin/uv pip install --quiet --python .venv/bin/python -r pyproject.toml
	@touch $@

.venv-test/.installed: pyproject.toml
	$(call venv,.venv-test)
	@.venv-test/bin/uv pip install --quiet --python .venv-test/bin/python -r pyproject.toml --extra train --extra traces --group lint --group audit --group test
	@touch $@

.venv-ray/.installed: pyproject.toml
	$(call venv,.venv-ray)
	@.venv-ray/bin/uv pip install --quiet --python .venv-ray/bin/python -r pyproject.toml --extra ray pytest pytest-timeout
	@touch $@

# What the peers' own examples need, and what our decode and engine need; all as new as it goes.
PEERS_NEED = torch torchvision onnxruntime openvino numpy pillow safetensors python-multipart httptools uvloop httpx2
.venv-peers/ray/.installed: PACKAGE = ray[serve]
$(PEERS:%=%/.installed): pyproject.toml
	$(call venv,$(@D))
	@$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python '$(or $(PACKAGE),$(notdir $(@D)))' $(PEERS_NEED)
	@touch $@

clean:
	rm -rf .venv .venv-test .venv-ray .venv-peers

"""The machine and the versions that a measurement was made with."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.cpu import usable_cores

PACKAGES = ("openvino", "pillow", "numpy", "starlette", "uvicorn", "h11", "python-multipart", "torch")
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")


def machine() -> dict[str, Any]:
    """CPU, cores that may be used, kernel, Python and packages, date."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": usable_cores(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    """The model as the kernel names it, and what of vector units matters here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = found.get("model name", platform.machine())
    flags = found.get("flags", found.get("Features", "")).split()
    return f"{name} ({', '.join(flag for flag in VECTORS if flag in flags)})"

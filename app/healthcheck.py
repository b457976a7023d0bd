"""`python -m app.healthcheck`: exit 0 if the service in this container is ready. The image has no curl."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request


def main() -> int:
    """Ask /readyz on the port that the service was told to use."""
    port = os.environ.get("TELLAPART_PORT") or os.environ.get("PORT") or "8000"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return int(response.status != 200)
    except (urllib.error.URLError, OSError) as error:
        print(f"not ready: {error}", file=sys.stderr)  # noqa: T201
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The service as it is when its room is full: it refuses every upload, so that what one refusal takes can be measured.

Run: `python -m bench.full serve …`, as `python -m app`.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from app.__main__ import main
from app.admission import Admission
from app.errors import Refusal


def refuse(*_: Any, **__: Any) -> NoReturn:
    """In place of Admission.check."""
    raise Refusal("busy", "The service is busy.", retry_after_s=1)


if __name__ == "__main__":
    Admission.check = refuse  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))

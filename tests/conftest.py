"""What all tests need."""

from __future__ import annotations

import signal

# Started in the background, SIGINT is ignored, and so it would be by every program that a test starts and stops.
signal.signal(signal.SIGINT, signal.default_int_handler)

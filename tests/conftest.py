"""What all tests need."""

from __future__ import annotations

import os
import signal

# Threads of torch that wait do so by sleeping. Left to spin, on cores that a service, a second process or a neighbour
# uses too, they take the time of those that work: a training of seconds took twice to five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Started in the background, SIGINT is ignored, and so it would be by every program that a test starts and stops.
signal.signal(signal.SIGINT, signal.default_int_handler)

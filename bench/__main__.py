"""`make bench`: the figures of docs/bench.md, measured here and printed as that page's table."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics

from PIL import Image

from app.cpu import usable_cores
from bench.load import Load, request, run
from bench.service import resident_mb, service
from tests.photos import encode, real_photos

PLAIN_PORT, OURS_PORT = 8151, 8152
PHOTOS = 56
SIZE = (640, 427)


def photos() -> list[bytes]:
    """56 distinct JPEGs of 640 × 427, cut from the real photos that the test packages ship."""
    found = []
    for path in real_photos():
        image = Image.open(path).convert("RGB")
        scale = max(1.4 * SIZE[0] / image.width, 1.4 * SIZE[1] / image.height)
        large = image.resize((round(image.width * scale), round(image.height * scale)))
        for number in range(PHOTOS // len(real_photos())):
            left = number * (large.width - SIZE[0]) // 7
            top = (6 - number) * (large.height - SIZE[1]) // 7
            found.append(encode(large.crop((left, top, left + SIZE[0], top + SIZE[1])), "JPEG", quality=90))
    return found


def load(port: int, requests: list[bytes], clients: int, seconds: float) -> Load:
    """One bout of load."""
    return asyncio.run(run(port, requests, clients, seconds))


def measure(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Both services in turn, `rounds` times each, with 1 and with 8 clients; medians over the rounds."""
    requests = [request(photo) for photo in photos()]
    ours = service(["-m", "app", "serve", "--port", str(OURS_PORT)], OURS_PORT)
    plain = service(["-m", "bench.plain", str(PLAIN_PORT)], PLAIN_PORT)
    with ours as (our_pid, our_start), plain as (plain_pid, plain_start):
        bouts: dict[tuple[str, int], list[Load]] = {}
        for port in (OURS_PORT, PLAIN_PORT):
            load(port, requests, 4, 2)  # warm-up
        for _ in range(rounds):
            for clients in (1, 8):
                for name, port in (("tellapart", OURS_PORT), ("plain", PLAIN_PORT)):
                    bouts.setdefault((name, clients), []).append(load(port, requests, clients, seconds))
        memory = {"tellapart": resident_mb(our_pid), "plain": resident_mb(plain_pid)}
    start = {"tellapart": our_start, "plain": plain_start}
    return {name: summary(name, bouts, start[name], memory[name]) for name in ("tellapart", "plain")}


def summary(name: str, bouts: dict[tuple[str, int], list[Load]], start: float, memory: float) -> dict[str, float]:
    """Medians over the rounds of one service."""
    one, eight = bouts[name, 1], bouts[name, 8]
    return {
        "median_ms_1_client": round(statistics.median(bout.percentile(50) for bout in one), 1),
        "rate_8_clients": round(statistics.median(bout.rate for bout in eight), 1),
        "p99_ms_8_clients": round(statistics.median(bout.percentile(99) for bout in eight), 1),
        "failed": sum(bout.failed for bout in one + eight),
        "ready_s": round(start, 2),
        "resident_mb": round(memory),
    }


def main() -> None:
    """Measure and print a Markdown table and the same as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure tellapart against the plain version.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one bout of load")
    args = parser.parse_args()
    results = measure(args.rounds, args.seconds)
    ours, plain = results["tellapart"], results["plain"]
    print("| | tellapart | plain |\n|---|---|---|")
    for key in ours:
        print(f"| {key} | {ours[key]} | {plain[key]} |")
    print(f"\nRate with 8 clients: {ours['rate_8_clients'] / plain['rate_8_clients']:.1f} times the plain version's.")
    machine = {"python": platform.python_version(), "machine": platform.machine(), "usable_cores": usable_cores()}
    print(json.dumps({"machine": machine, "rounds": args.rounds, "seconds": args.seconds, "results": results}))


if __name__ == "__main__":
    main()

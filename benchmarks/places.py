"""Time and memory of finding the places of a store, over the number of its patches.

Footprints of 640 m, each set in a process of its own, whose peak of resident memory (Linux) less
that before the search is given:

- `grid`: disjoint neighbors that share edges
- `half`: tiles that overlap by half in both directions
- `dates`: 50 dates of each place, whose corners differ by about 0.4 m; places touch

The numbers of places and footprints must be the right ones.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/places.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from measurement import Row, device_name, memory_status, save

from georank_zoo.data.store.ground import squares
from georank_zoo.data.store.places import find_places

SIDE = 640.0
DATES = 50
JITTER_M = 0.4
STEP = {"grid": SIDE, "half": SIDE / 2, "dates": SIDE}


def footprints(kind: str, count: int) -> np.ndarray:
    """Corners (count, 4, 3) in earth-centered meters, in rows around 45 degrees north."""
    each = DATES if kind == "dates" else 1
    places = count // each
    row, col = np.divmod(np.arange(places), int(np.ceil(places**0.5)))
    degrees = STEP[kind] / 111_132  # of latitude at 45 degrees
    lat = 45 - row * degrees
    # Meridians converge: each row has its own step in longitude.
    lon = 5 + col * degrees * 111_132 / (111_412 * np.cos(np.deg2rad(lat)))
    ground = np.repeat(squares(np.stack((lat, lon), axis=1), SIDE), each, axis=0)
    if kind == "dates":
        rng = np.random.default_rng(0)
        ground += rng.normal(0, JITTER_M, (len(ground), 1, 3))
    return ground


def measure(kind: str, count: int) -> Row:
    """Finds the places in this process, once."""
    warm = footprints(kind, 1000)
    find_places(warm, np.arange(1000), np.zeros(1000, np.int64))
    ground = footprints(kind, count)
    before = memory_status("VmRSS")
    clock, cpu = time.perf_counter(), time.process_time()
    found = find_places(ground, np.arange(len(ground)), np.zeros(len(ground), np.int64))
    seconds, cpu = time.perf_counter() - clock, time.process_time() - cpu
    return {
        "footprints": kind, "patches": len(ground), "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2), "us_per_patch": round(1e6 * cpu / len(ground), 2),
        "extra_peak_mib": round(memory_status("VmHWM") - before),
        "found_footprints": int(found.footprint.max()) + 1,
        "found_places": int(found.place.max()) + 1,
    }  # fmt: skip


def check(row: Row) -> None:
    """Refuses wrong numbers."""
    patches, kind = row["patches"], row["footprints"]
    shown = patches // DATES if kind == "dates" else patches
    expected = (shown, 1 if kind == "half" else shown)
    found = (row["found_footprints"], row["found_places"])
    if found != expected:
        raise SystemExit(f"{kind}, {patches}: footprints and places {found}, not {expected}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[125_000, 250_000, 500_000])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/places.csv"))
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.sizes[0])))
        return
    rows: list[Row] = []
    for kind in STEP:
        for size in arguments.sizes:
            command = [sys.executable, __file__, "--only", kind, "--sizes", str(size)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            check(found)
            print(found, flush=True)
            rows.append(
                {
                    "date": date.today().isoformat(),
                    "device": device_name(torch.device("cpu")),
                    "threads": 1,
                    **found,
                    "numpy": version("numpy"),
                    "scipy": version("scipy"),
                    "georank_zoo": version("georank-zoo"),
                }
            )
    save(arguments.out, rows)


if __name__ == "__main__":
    main()

"""Time of preparing a store in one process and in several.

Trees of small 12-band GeoTIFFs (deflate) are made, and real samples are taken where
GEORANK_REAL_DATA has them. Each run is a process of its own, which lists, reads and writes all
files; the numbers of jobs alternate, and every store must be the same byte for byte. The CPU
seconds are those of all processes of a run, the time to load the library included; seconds of the
clock do not count that. Files lie in the page cache after the first run, whose numbers are left
out.

    OMP_NUM_THREADS=1 python benchmarks/prepare.py
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import torch
from measurement import Row, device_name, save

from georank_zoo import bands as s2
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader

# Folder in GEORANK_REAL_DATA by reader.
REAL = {"oscd": "oscd_s2_l1c", "eurosat": "eurosat_ms"}


class Run(NamedTuple):
    """What a process measured."""

    listed_s: float
    seconds: float
    cpu_seconds: float
    patches: int
    hash: str


def write_tree(folder: Path, files: int, size: int) -> None:
    """GeoTIFFs of noise, side by side."""
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff", "width": size, "height": size, "count": len(s2.S2_12),
        "dtype": "uint16", "crs": "EPSG:32633", "compress": "deflate",
    }  # fmt: skip
    for number in range(files):
        west, north = 500_000 + number % 100 * size * 10, 5_000_000 - number // 100 * size * 10
        place = rasterio.transform.from_origin(west, north, 10, 10)
        with rasterio.open(folder / f"{number:06}.tif", "w", transform=place, **profile) as file:
            file.write(rng.integers(200, 4000, (len(s2.S2_12), size, size), dtype=np.uint16))
            file.descriptions = s2.S2_12


def run_here(reader: str, source: Path, jobs: int) -> None:
    """One run, inside the process that was started for it; prints a `Run`."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        opened = open_reader(reader, source)
        listed = time.perf_counter() - began
        report = prepare_store(opened, Path(folder, "store"), jobs=jobs, max_bad=1, progress=False)
        seconds = time.perf_counter() - began
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    print(listed, seconds, cpu, len(report.store), report.store.hash)


def run_apart(reader: str, source: Path, jobs: int) -> Run:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--run", reader, str(source), str(jobs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    *numbers, patches, hash_ = done.stdout.split()
    return Run(*map(float, numbers), int(patches), hash_)


def measure(reader: str, source: Path, jobs: list[int], rounds: int) -> list[Row]:
    """A row for each number of jobs."""
    runs: dict[int, list[Run]] = {number: [] for number in jobs}
    warm = run_apart(reader, source, 1)
    loads: list[float] = []
    for turn in range(rounds):
        for number in jobs if turn % 2 == 0 else reversed(jobs):
            loads.append(os.getloadavg()[0])
            runs[number].append(run_apart(reader, source, number))
            last = runs[number][-1]
            if last.hash != warm.hash:
                sys.exit(f"{reader}: the store of {number} jobs is another one.")
            print(f"  {reader}, jobs {number}: {last.seconds:.2f} s, CPU {last.cpu_seconds:.2f} s")
    rows = []
    for number, found in runs.items():
        pairs = list(zip(runs[jobs[0]], found, strict=True))
        rows.append(
            {
                "date": date.today().isoformat(),
                "device": device_name(torch.device("cpu")),
                "cores": os.cpu_count(),
                "load_before_runs": f"{statistics.median(loads):.1f}",
                "source": source.name,
                "patches": warm.patches,
                "jobs": number,
                "median_s": f"{statistics.median(run.seconds for run in found):.4g}",
                "min_s": f"{min(run.seconds for run in found):.4g}",
                "median_listing_s": f"{statistics.median(run.listed_s for run in found):.3g}",
                "median_cpu_s": f"{statistics.median(run.cpu_seconds for run in found):.4g}",
                "speedup": f"{statistics.median(a.seconds / b.seconds for a, b in pairs):.3g}",
                "rounds": rounds,
                "rasterio": version("rasterio"),
                "georank_zoo": version("georank-zoo"),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, nargs="+", default=[3000, 12_000])
    parser.add_argument("--size", type=int, default=64, help="their side in pixels")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/prepare.csv"))
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        reader, source, jobs = arguments.run
        run_here(reader, Path(source), int(jobs))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for files in arguments.files:
            made = Path(folder, f"{files} GeoTIFFs of {arguments.size} px")
            made.mkdir()
            write_tree(made, files, arguments.size)
            sources.append(("folder", made))
        if root := os.environ.get("GEORANK_REAL_DATA"):
            real = [(reader, Path(root, name)) for reader, name in REAL.items()]
            sources += [(reader, path) for reader, path in real if path.is_dir()]
        for reader, source in sources:
            rows += measure(reader, source, arguments.jobs, arguments.rounds)
    save(arguments.out, rows)


if __name__ == "__main__":
    main()

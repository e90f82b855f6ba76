"""Time and memory of the search for nearest neighbors compared with faiss's flat index, on the CPU.

Random features of 1,000 clusters lie in a file. Each run is a process of its own: it searches the
k nearest of the bank for each query, and its peak of resident memory (Linux) is that of the whole
process, pages of the file included. On a machine with other work the seconds of CPU say more than
those of the clock, on one thread; on more they count threads that wait.

- `georank-zoo`: `find_neighbors` on memory maps; that it reads and normalizes is timed.
- `faiss`: `IndexFlatIP` of normalized features, which is built from the file chunk by chunk; only
  its search is timed.

The runs alternate; a ratio is the median of those of neighboring runs. Both must find the same
neighbors.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/knn.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measurement import Row, device_name, memory_status, save

from georank_zoo.eval.protocols.neighbors import find_neighbors

OURS, FAISS = "georank-zoo", "faiss"
CLUSTERS = 1000
ROWS = 20_000  # written, read or added at a time
# Similarities of two matrix products, and so the order of neighbors that near to each other.
TOLERANCE = 2e-6

Found = tuple[np.ndarray, np.ndarray]
Search = Callable[[], Found]


class Run(NamedTuple):
    """What a process measured."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def write_features(path: Path, rows: int, dim: int, *, seed: int, by_cluster: bool) -> None:
    """Features (rows, dim) of random lengths around 1,000 centers, as a .npy file."""
    centers = np.random.default_rng(0).standard_normal((CLUSTERS, dim), dtype=np.float32)
    rng = np.random.default_rng(seed)
    cluster = rng.integers(CLUSTERS, size=rows)
    if by_cluster:
        cluster.sort()
    file = np.lib.format.open_memmap(path, "w+", np.float32, (rows, dim))
    for start in range(0, rows, ROWS):
        part = centers[cluster[start : start + ROWS]]
        part = part + 2 * rng.standard_normal(part.shape, dtype=np.float32)
        file[start : start + ROWS] = part * rng.uniform(0.5, 2, (len(part), 1))
    file.flush()


def prepare_ours(queries: np.ndarray, bank: np.ndarray, k: int) -> Search:
    """The search on the files."""
    find_neighbors(queries[:64], bank[:4096], min(k, 64))  # loads libraries, starts threads

    def search() -> Found:
        found = find_neighbors(queries, bank, k)
        return found.index, found.similarity

    return search


def prepare_faiss(queries: np.ndarray, bank: np.ndarray, k: int) -> Search:
    """The search in an index that is built here."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(bank.shape[1])
    for start in range(0, len(bank), ROWS):
        index.add(unit(bank[start : start + ROWS]))
    normalized = unit(queries)
    index.search(normalized[:64], min(k, 64))

    def search() -> Found:
        similarity, found = index.search(normalized, k)
        return found, similarity

    return search


SEARCHES = {OURS: prepare_ours, FAISS: prepare_faiss}


def unit(features: np.ndarray) -> np.ndarray:
    """Features (n, D) of norm 1."""
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def run_here(name: str, folder: Path, k: int, threads: int) -> None:
    """One run, inside the process that was started for it; prints a `Run`."""
    torch.set_num_threads(threads)
    queries, bank = (np.load(folder / f"{what}.npy", mmap_mode="r") for what in ("queries", "bank"))
    search = SEARCHES[name](queries, bank, k)
    began, cpu_began = time.perf_counter(), time.process_time()
    index, similarity = search()
    print(time.perf_counter() - began, time.process_time() - cpu_began, memory_status("VmHWM"))
    np.savez(folder / f"{name}.npz", index=index, similarity=similarity)


def run_apart(name: str, folder: Path, k: int, threads: int) -> Run:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--run", name, "--folder", str(folder)]
    command += ["--k", str(k), "--threads", str(threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return Run(*map(float, done.stdout.split()))


def check_agreement(folder: Path) -> None:
    """Stops unless both found the same neighbors, but for similarities equal to rounding."""
    ours, faiss = (np.load(folder / f"{name}.npz") for name in SEARCHES)
    apart = np.abs(ours["similarity"] - faiss["similarity"]).max()
    other = ours["index"] != faiss["index"]
    print(f"  similarities within {apart:.1e}, order differs at {other.mean():.1e} of the places")
    # Where another sample stands at a rank, both have the similarity of that rank.
    if not apart <= TOLERANCE or other.mean() > 1e-3:
        sys.exit("The two do not find the same neighbors: no times are given.")


def measure(folder: Path, k: int, threads: int, arguments: argparse.Namespace) -> list[Row]:
    """A row for each of the two."""
    names = [OURS] if arguments.alone else list(SEARCHES)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for turn in range(arguments.rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            runs[name].append(run_apart(name, folder, k, threads))
            last = runs[name][-1]
            print(f"  {name}: {last.seconds:.1f} s, CPU {last.cpu_seconds:.1f} s", flush=True)
    if not arguments.alone:
        check_agreement(folder)
    flop = 2 * arguments.bank * arguments.queries * arguments.dim
    rows = []
    for name, found in runs.items():
        median = statistics.median(run.seconds for run in found)
        pairs = list(zip(found, runs[OURS], strict=True))
        ratio = statistics.median(a.seconds / b.seconds for a, b in pairs)
        cpu_ratio = statistics.median(a.cpu_seconds / b.cpu_seconds for a, b in pairs)
        rows.append(
            {
                "date": date.today().isoformat(),
                "device": device_name(torch.device("cpu")),
                "threads": threads,
                "contender": name,
                "bank": arguments.bank,
                "queries": arguments.queries,
                "dim": arguments.dim,
                "order": "by cluster" if arguments.by_cluster else "random",
                "k": k,
                "median_s": f"{median:.4g}",
                "min_s": f"{min(run.seconds for run in found):.4g}",
                "median_cpu_s": f"{statistics.median(run.cpu_seconds for run in found):.4g}",
                "gflop_per_s": f"{flop / median / 1e9:.0f}",
                "ratio_to_ours": f"{ratio:.3g}",
                "cpu_ratio_to_ours": f"{cpu_ratio:.3g}",
                "rounds": len(found),
                "peak_mib": f"{max(run.peak_mib for run in found):.0f}",
                "torch": version("torch"),
                "faiss": "" if arguments.alone else version("faiss-cpu"),
                "georank_zoo": version("georank-zoo"),
            }
        )
    return rows


def show(rows: list[Row]) -> None:
    """Prints the rows of one measurement."""
    for row in rows:
        print(
            f"threads {row['threads']}  k {row['k']:>4}  {row['contender']:<12}"
            f"{row['median_s']:>8} s{row['gflop_per_s']:>6} GFLOP/s{row['peak_mib']:>7} MiB"
            f"{row['ratio_to_ours']:>7} x, CPU {row['cpu_ratio_to_ours']} x"
            f"  ({row['rounds']} runs)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bank", type=int, default=600_000, help="features searched in")
    parser.add_argument("--queries", type=int, default=4096)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--k", type=int, nargs="+", default=[10, 200])
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="CPU threads")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each")
    help = "the bank lies cluster after cluster, not in random order"
    parser.add_argument("--by-cluster", action="store_true", help=help)
    parser.add_argument("--alone", action="store_true", help="measure georank-zoo alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/knn.csv"))
    parser.add_argument("--run", choices=SEARCHES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_here(arguments.run, arguments.folder, arguments.k[0], arguments.threads[0])
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder, dim, ordered = Path(name), arguments.dim, arguments.by_cluster
        write_features(folder / "bank.npy", arguments.bank, dim, seed=1, by_cluster=ordered)
        write_features(folder / "queries.npy", arguments.queries, dim, seed=2, by_cluster=False)
        for threads in arguments.threads:
            for k in arguments.k:
                found = measure(folder, k, threads, arguments)
                show(found)
                rows += found
                save(arguments.out, rows)


if __name__ == "__main__":
    main()

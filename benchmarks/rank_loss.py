"""Time and memory of the GeoRank loss, forward and backward, against two rivals.

- `per-row`: as the published implementation, soft ranks row by row on the CPU, with a compiled
  isotonic regression and the blocks of its gradient found in Python.
- `torchsort`: the same loss in batched torch, with `torchsort.soft_rank`.
- `georank-zoo`: `GeoRankLoss`.

Nothing is timed unless all agree in value and gradient. Times are medians of alternating runs;
memory is what a run adds at its peak to a fresh process (Linux), or on CUDA to torch's allocations.

    python benchmarks/rank_loss.py [--device cuda] --step

torchsort is left out where it is not installed, and on CUDA where it was built without nvcc.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from measurement import Row, device_name, memory_status, save
from rank_loss_rivals import MARGIN, MAX_KM, TEMPERATURE, per_row, with_torchsort
from timm.optim import create_optimizer_v2

from georank_zoo import GeoRankLoss
from georank_zoo.algorithms.moco import MoCo
from georank_zoo.losses.georank import default_strength
from georank_zoo.training.build import build_backbone
from georank_zoo.training.objective import Objective
from georank_zoo.utils.figures import BASELINE, FLOOR, GEORANK, style
from georank_zoo.utils.files import new_file

DIM = 128
OURS = "georank-zoo"
CHECKED_BATCH = 256
STEP_BATCH = 512
DIAGNOSTICS = "diagnostics"
COLORS = {"per-row": FLOOR, "torchsort": BASELINE, OURS: GEORANK}

Loss = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def ours(embeddings: torch.Tensor, latlon: torch.Tensor, strength: float) -> torch.Tensor:
    """`GeoRankLoss`."""
    loss = GeoRankLoss(
        temperature=TEMPERATURE, strength=strength, min_km=0.0, max_km=MAX_KM, margin=MARGIN
    )
    return loss(embeddings, latlon)


CONTENDERS: dict[str, Loss] = {"per-row": per_row, "torchsort": with_torchsort, OURS: ours}


def sample_batch(
    batch: int, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random unit embeddings (B, 128) and positions (B, 2), scattered around 200 places."""
    rng = np.random.default_rng(batch)
    embeddings = F.normalize(torch.from_numpy(rng.standard_normal((batch, DIM))), dim=1)
    lat = np.degrees(np.arcsin(rng.uniform(-0.9, 0.9, 200)))
    centers = np.stack((lat, rng.uniform(-180, 180, 200)), axis=1)
    latlon = centers[rng.integers(200, size=batch)] + rng.normal(0, 1.5, (batch, 2))
    latlon[:, 1] = (latlon[:, 1] + 180) % 360 - 180
    leaf = embeddings.to(device, dtype).requires_grad_()
    return leaf, torch.from_numpy(latlon).to(device)


def forward_backward(
    name: str, batch: int, device: torch.device, strength: float
) -> Callable[[], None]:
    """A run of a contender on a batch of its own, to be called again and again."""
    embeddings, latlon = sample_batch(batch, device)

    def run() -> None:
        embeddings.grad = None
        CONTENDERS[name](embeddings, latlon, strength).backward()

    return run


def diagnose(batch: int, device: torch.device) -> Callable[[], None]:
    """What the trainer logs with the losses, every tenth step: Spearman, effective rank, ..."""
    embeddings, latlon = sample_batch(batch, device)
    algorithm = MoCo(build_backbone("resnet18", 12))
    objective = Objective(algorithm, GeoRankLoss())

    def run() -> None:
        objective.diagnostics(embeddings.detach(), latlon)

    return run


def training_step(batch: int, device: torch.device) -> tuple[str, Callable[[], None]]:
    """A step of MoCo v2 without GeoRank, as the recipes take it, and what to call it."""
    torch.manual_seed(0)
    size = 120 if device.type == "cuda" else 64
    layout = torch.channels_last
    algorithm = MoCo(build_backbone("resnet18", 12)).to(device, memory_format=layout).train()
    optimizer = create_optimizer_v2(algorithm, opt="lars", lr=0.4, weight_decay=1e-6, momentum=0.9)
    images = torch.randn(2, batch, 12, size, size, device=device)
    views = [view.contiguous(memory_format=layout) for view in images]
    latlon = sample_batch(batch, device)[1]

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = algorithm(views, latlon).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        algorithm.end_step(0.5)

    return f"MoCo v2 step, ResNet18, {size} px, bf16", run


def available(device: torch.device) -> list[str]:
    """The contenders that can run here; says why torchsort cannot."""
    try:
        forward_backward("torchsort", 8, device, 1.0)()
    except ImportError as error:
        print(f"torchsort is left out: {error}")
        return [name for name in CONTENDERS if name != "torchsort"]
    return list(CONTENDERS)


def check_agreement(names: list[str], device: torch.device, strength: float) -> None:
    """Stops unless all contenders give one loss and one gradient, to 1e-6, in float64."""
    found = {}
    for name in reversed(names):
        embeddings, latlon = sample_batch(CHECKED_BATCH, device, torch.float64)
        loss = CONTENDERS[name](embeddings, latlon, strength)
        found[name] = (loss.detach(), *torch.autograd.grad(loss, embeddings))
        for what, value, expected in zip(
            ("loss", "gradient"), found[name], found[OURS], strict=True
        ):
            error = float((value - expected).norm() / expected.norm())
            print(f"{name}: {what} is within {error:.1e} of {OURS}'s (relative, float64)")
            if not error <= 1e-6:
                sys.exit(f"{name} does not compute the same {what}: nothing is timed.")


def time_once(run: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Milliseconds of one run, and those until the call came back to the host."""
    if device.type != "cuda":
        began = time.perf_counter()
        run()
        elapsed = 1e3 * (time.perf_counter() - began)
        return elapsed, elapsed
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    first.record()
    began = time.perf_counter()
    run()
    host = 1e3 * (time.perf_counter() - began)
    last.record()
    torch.cuda.synchronize(device)
    return first.elapsed_time(last), host


def time_alternating(
    runs: dict[str, Callable[[], None]], device: torch.device, repeats: int | None
) -> dict[str, list[tuple[float, float]]]:
    """Times of all runs, in turns so that a busy moment of the machine meets them all.

    Without `repeats` each gets about 3 s: 5 to 50 runs, or 3 of what takes longer than 3 s.
    """
    wanted = {}
    for name, run in runs.items():
        time_once(run, device)  # warm-up: caches, lazy initialization
        seconds = time_once(run, device)[0] / 1e3
        wanted[name] = repeats or min(50, max(3 if seconds > 3 else 5, round(3 / seconds)))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(max(wanted.values())):
        for name in (name for name in runs if turn < wanted[name]):
            times[name].append(time_once(runs[name], device))
    return times


def peak_on_cuda(run: Callable[[], None], device: torch.device) -> float:
    """MiB that a run allocates on the device at its peak, above what was there before."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def peak_in_fresh_process(name: str, batch: int, strength: float, threads: int) -> float:
    """MiB that a contender's run adds at its peak to the resident memory of a new process."""
    command = [sys.executable, __file__, "--peak-of", name, "--sizes", str(batch)]
    command += ["--strength", str(strength), "--threads", str(threads)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def peak_of_this_process(name: str, batch: int, strength: float) -> float:
    """What `peak_in_fresh_process` measures, inside that process."""
    cpu = torch.device("cpu")
    forward_backward(name, 8, cpu, strength)()  # loads libraries, starts autograd's threads
    run = forward_backward(name, batch, cpu, strength)
    # Resets the peak to what is resident now (proc(5)). getrusage's would not do: it begins with
    # the peak of the process that started this one.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_status("VmRSS")
    run()
    return memory_status("VmHWM") - before


def measure(
    batch: int, names: list[str], device: torch.device, arguments: argparse.Namespace
) -> list[Row]:
    """One row per contender, and one of the training step when it is of this batch size."""
    strength = arguments.strength or default_strength(TEMPERATURE, batch)
    fits = [name for name in names if name != "per-row" or batch <= arguments.max_per_row_size]
    runs = {name: forward_backward(name, batch, device, strength) for name in fits}
    times = time_alternating(runs, device, arguments.repeats)
    cuda = device.type == "cuda"
    peaks = {
        name: peak_on_cuda(run, device)
        if cuda
        else peak_in_fresh_process(name, batch, strength, arguments.threads)
        for name, run in runs.items()
    }
    if arguments.step and batch == STEP_BATCH:
        label, step = training_step(batch, device)
        logged = {DIAGNOSTICS: diagnose(batch, device), label: step}
        times |= time_alternating(logged, device, arguments.repeats)
    medians = {name: statistics.median(ms for ms, _ in found) for name, found in times.items()}
    return [
        {
            "date": date.today().isoformat(),
            "device": device_name(device),
            "threads": arguments.threads,
            "contender": name,
            "batch": batch,
            "median_ms": f"{medians[name]:.4g}",
            "min_ms": f"{min(ms for ms, _ in found):.4g}",
            "host_ms": f"{statistics.median(host for _, host in found):.4g}" if cuda else "",
            "repeats": len(found),
            "peak_mib": f"{peaks[name]:.1f}" if name in peaks else "",
            "ratio_to_ours": f"{medians[name] / medians[OURS]:.3g}",
            "torch": version("torch"),
            "georank_zoo": version("georank-zoo"),
            "settings": f"float32, D {DIM}; temperature {TEMPERATURE:g}; strength {strength:g}; "
            f"0-{MAX_KM:g} km; margin {MARGIN:g}; mse",
        }
        for name, found in times.items()
    ]


def show(rows: list[Row]) -> None:
    """Prints the rows of one batch size, and what share of a training step each loss would be."""
    for row in rows:
        memory = f"{row['peak_mib']} MiB" if row["peak_mib"] else ""
        print(
            f"{row['batch']:>6}  {row['contender']:<34}{row['median_ms']:>9} ms{memory:>13}"
            f"{row['ratio_to_ours']:>8} x  ({row['repeats']} runs)"
        )
    time_of = {row["contender"]: float(row["median_ms"]) for row in rows}
    for step in time_of.keys() - CONTENDERS.keys() - {DIAGNOSTICS}:
        for name in sorted(time_of.keys() - {step}):
            share = time_of[name] / (time_of[name] + time_of[step])
            print(f"{'':8}{name} would be {share:.1%} of a {step} that includes it")


def draw(path: Path, rows: list[Row]) -> None:
    """Draws median time over batch size, a line per contender and a point for the step."""
    with style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axis = figure.subplots()
        for name in dict.fromkeys(row["contender"] for row in rows):
            points = [row for row in rows if row["contender"] == name]
            x, y = [row["batch"] for row in points], [float(row["median_ms"]) for row in points]
            marker = {"marker": "o", "markersize": 3.5} if name in COLORS else {"marker": "D"}
            linestyle = "-" if name in COLORS else "none"
            color = COLORS.get(name, "0.2")
            axis.plot(x, y, color=color, linestyle=linestyle, label=name, **marker)
        sizes = sorted({row["batch"] for row in rows})
        axis.set(xscale="log", yscale="log", xlabel="batch size", ylabel="median time (ms)")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.2)
        axis.legend(frameon=False)
        where = f"{rows[0]['device']}, CPU threads: {rows[0]['threads']}"
        axis.set_title(f"GeoRank loss, forward + backward: {where}", loc="left")
        with new_file(path) as temporary:
            figure.savefig(temporary, dpi=150, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [64, 128, 256, 512, 1024, 2048, 4096]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="batch sizes")
    rivals = [name for name in CONTENDERS if name != OURS]
    parser.add_argument("--rivals", nargs="*", default=rivals, choices=rivals)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    help = "of the soft ranks; 0 for our default; the published one, 0.001, by default"
    parser.add_argument("--strength", type=float, default=0.001, help=help)
    parser.add_argument("--repeats", type=int, help="runs of each; by duration if not given")
    parser.add_argument("--max-per-row-size", type=int, default=2048)
    help = f"time a MoCo v2 training step too, at batch {STEP_BATCH}"
    parser.add_argument("--step", action="store_true", help=help)
    help = "start of the files' names; _cpu<threads> or _cuda, .csv and .png are added"
    default = Path("benchmarks/results/rank_loss")
    parser.add_argument("--out", type=Path, default=default, help=help)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # glibc returns freed memory to the system until it has seen something large freed, as any
    # training process has; the page faults would be a third of some times here.
    large = torch.zeros(31 * 2**20, dtype=torch.uint8)
    del large
    if arguments.peak_of is not None:
        print(peak_of_this_process(arguments.peak_of, arguments.sizes[0], arguments.strength))
        return
    device = torch.device(arguments.device)
    names = [name for name in available(device) if name in (*arguments.rivals, OURS)]
    check_agreement(
        names,
        device,
        arguments.strength or default_strength(TEMPERATURE, CHECKED_BATCH),
    )
    tag = "cuda" if device.type == "cuda" else f"cpu{arguments.threads}"
    stem = arguments.out.with_name(f"{arguments.out.name}_{tag}")
    rows: list[Row] = []
    for batch in arguments.sizes:
        found = measure(batch, names, device, arguments)
        show(found)
        rows += found
        save(stem.with_suffix(".csv"), rows)
    draw(stem.with_suffix(".png"), rows)


if __name__ == "__main__":
    main()

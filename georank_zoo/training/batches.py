"""Training batches as a function of (seed, step), with no state to save."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.training.pairing import order_in_pairs
from georank_zoo.utils.errors import StoreError
from georank_zoo.utils.parallel import usable_cores
from georank_zoo.utils.rng import stream


class Batch(TypedDict):
    """One process's part of a batch of places.

    Attributes:
        images: Digital numbers (dates, B, C, H, W), uint16.
        latlon: Positions (B, 2) in degrees, float64.
        uniform: Uniform random numbers (B, views, draws) for the views, float32.
    """

    images: torch.Tensor
    latlon: torch.Tensor
    uniform: torch.Tensor


class PlaceBatches(Dataset[Batch]):
    """The batches of a run, by number.

    A sample is a place, which to training is a footprint of the store: patches that show the same
    ground at different dates. An epoch visits each once, in an order of its own, and leaves out
    what does not fill a batch. What sample i of step s shows depends on the seed alone: any number
    of processes, parts, workers and restarts gives the same batches.

    A subset of the places is the beginning of one random order of them all, so subsets of one
    seed are nested. The store's means and standard deviations stay those of all its patches.

    Args:
        store: Store of the patches.
        bands: Bands wanted, in channel order.
        batch_size: Places in an optimizer step, over all processes and parts.
        parts: Parts that a step is computed in; part p of step s is number s * parts + p.
        seed: The run's seed.
        temporal: Whether to give two dates of each place, different ones where there are two.
        views: Views that will be made of each sample.
        draws: Uniform numbers per view.
        subset: Number of the store's places to train on; all of them by default.
        neighbors_km: Order the places so that as many as possible have one within this distance
            in their part of a batch; in any order by default.
        rank: Number of this process.
        processes: Number of processes; parts * processes divides the batch size.

    Raises:
        StoreError: If the store has fewer places than a batch or than the subset, or a band
            is missing.
    """

    def __init__(
        self,
        store: PatchStore,
        *,
        bands: Sequence[str],
        batch_size: int,
        parts: int = 1,
        seed: int,
        temporal: bool,
        views: int,
        draws: int,
        subset: int | None = None,
        neighbors_km: float | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        store.require_bands(bands)
        store.require_positions("pretraining")
        self.store = store
        self.bands = tuple(bands)
        self.batch_size = batch_size
        self.seed = seed
        self.views = views
        self.draws = draws
        self.parts = parts
        self.rank = rank
        self.own = batch_size // (parts * processes)
        self.processes = processes
        # Patches sorted by place: those of place p are `patch[start[p] : start[p] + dates[p]]`.
        self.patch = np.argsort(store.footprint, kind="stable")
        _, self.start, self.dates = np.unique(
            store.footprint[self.patch], return_index=True, return_counts=True
        )
        if subset is not None:
            self._take(subset)
        self.neighbors_km = neighbors_km
        self._kept: tuple[int, npt.NDArray[np.int64], int] | None = None
        self.shown = 2 if temporal and views > 1 and self.dates.max() > 1 else 1
        if self.places < batch_size:
            whole = "" if subset is None else f", of which `data.places` takes {subset}"
            raise StoreError(
                f"Store {store.path} has {store.header.footprints} places{whole}, fewer than "
                f"a batch of {batch_size}. Lower `train.batch_size` or prepare more data."
            )

    def _take(self, subset: int) -> None:
        """Keeps the first places of an order that is the same for each number of them."""
        if subset > self.places:
            raise StoreError(
                f"Store {self.store.path} has {self.places} places, fewer than the {subset} of "
                "`data.places`. Lower it or prepare more data."
            )
        chosen = stream(self.seed, "places").permutation(self.places)[:subset]
        chosen.sort()
        self.start, self.dates = self.start[chosen], self.dates[chosen]

    @property
    def places(self) -> int:
        """Number of places that are trained on."""
        return len(self.start)

    @property
    def latlon(self) -> npt.NDArray[np.float64]:
        """Positions (places, 2) in degrees of the places that are trained on."""
        latlon: npt.NDArray[np.float64] = self.store.latlon[self.patch[self.start]]
        return latlon

    @property
    def per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return self.places // self.batch_size

    def advice(self) -> str | None:
        """A warning about the pairs of neighbors, if they are few."""
        if self.neighbors_km is None:
            return None
        _, pairs = self._order(0)
        share = 2 * pairs / self.places
        if share >= 0.5:
            return None
        return (
            f"Only {share:.0%} of the places have another within {self.neighbors_km:g} km in their "
            "batch: the store's places lie too far apart for more. Better: a store that cuts "
            "several patches from each scene."
        )

    def rows(self, number: int) -> slice:
        """The samples of a step that a batch of this process holds."""
        first = (number % self.parts * self.processes + self.rank) * self.own
        return slice(first, first + self.own)

    def _order(self, epoch: int) -> tuple[npt.NDArray[np.int64], int]:
        """Order of the places in an epoch, and its pairs of neighbors; the last one is kept."""
        if self._kept is None or self._kept[0] != epoch:
            rng = stream(self.seed, "order", epoch)
            if self.neighbors_km is None:
                self._kept = (epoch, rng.permutation(self.places), 0)
            else:
                self._kept = (epoch, *order_in_pairs(self.latlon, self.neighbors_km, rng))
        return self._kept[1:]

    def patches(self, number: int) -> npt.NDArray[np.int64]:
        """Positions in the store (dates, B) of a batch of this process."""
        return self.patches_of_step(number // self.parts)[:, self.rows(number)]

    def patches_of_step(self, step: int) -> npt.NDArray[np.int64]:
        """Positions in the store (dates, batch size) of all that a step sees."""
        epoch, position = divmod(step, self.per_epoch)
        order, _ = self._order(epoch)
        place = order[position * self.batch_size :][: self.batch_size]
        count = self.dates[place]
        first, offset = stream(self.seed, "date", step).random((2, self.batch_size))
        date = np.floor(first * count).astype(np.int64)
        rows = [date]
        if self.shown == 2:
            # Another date than the first, all equally likely; the same where there is but one.
            later = 1 + np.floor(offset * (count - 1)).astype(np.int64)
            rows.append((date + np.where(count > 1, later, 0)) % count)
        patches: npt.NDArray[np.int64] = self.patch[self.start[place] + np.stack(rows)]
        return patches

    def __getitem__(self, number: int) -> Batch:
        patches = self.patches(number)
        images = self.store.read(patches.reshape(-1), self.bands)
        uniform = stream(self.seed, "views", number // self.parts).random(
            (self.batch_size, self.views, self.draws), np.float32
        )[self.rows(number)]
        return Batch(
            images=torch.from_numpy(images.reshape(*patches.shape, *images.shape[1:])),
            latlon=torch.from_numpy(self.store.latlon[patches[0]]),
            uniform=torch.from_numpy(uniform),
        )


def iterate(
    batches: PlaceBatches, start: int, stop: int, *, workers: int, pin_memory: bool
) -> Iterator[Batch]:
    """The batches from `start` up to `stop`, read ahead by worker processes if there are any."""
    loader: DataLoader[Any] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=min(workers, usable_cores()),  # torch warns about more; batches are equal
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    return iter(loader)


def _leave_signals_to_the_parent(_worker: int) -> None:
    # Ctrl-C and a scheduler's SIGTERM reach all processes; the trainer finishes its step, for
    # which it needs its workers, and then ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

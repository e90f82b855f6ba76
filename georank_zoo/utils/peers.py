"""The processes of one run: what they tell each other, and what they say when one is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist

from georank_zoo.utils.distributed import world
from georank_zoo.utils.errors import GeorankError
from georank_zoo.utils.heartbeat import DEFER_S, Heartbeat, first_to_say

T = TypeVar("T")
V = TypeVar("V")

# How the messages of gloo, NCCL and torch's store begin or what they hold when a peer is gone.
_SIGNS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "TCPStore")
# How long the heartbeat may take to find out what a failed collective does not say: who.
_VERDICT_S = 30.0


class Peers:
    """The processes of a run; on one process all of it does nothing.

    A group of its own, over gloo: what is exchanged at each step must not wait for a GPU, and a
    lost peer is an exception here, where NCCL ends the process.

    Args:
        timeout_s: Time in seconds after which one that does not answer counts as lost.
        sentence: What to say when one is lost, given its number if that is known.
    """

    def __init__(
        self, timeout_s: float, sentence: Callable[[int | None], str] = "Lost process {}.".format
    ) -> None:
        self._group: Any = None
        self._heartbeat: Heartbeat | None = None
        self._sentence = sentence
        self._all_know = False
        if world()[0] > 1:
            limit = timedelta(seconds=timeout_s)
            self._group = dist.new_group(backend="gloo", timeout=limit)
            self._heartbeat = Heartbeat(timeout_s, sentence)

    def close(self) -> None:
        """Ends the exchange, where all processes end it."""
        if self._heartbeat is not None:
            self._heartbeat.close()

    def leave(self, error: BaseException) -> None:
        """Ends the exchange after an error; the others may have to learn that it is said."""
        if self._heartbeat is None:
            return
        self._heartbeat.close() if self._all_know else self._heartbeat.leave()
        if isinstance(error, GeorankError) and error.said_elsewhere:
            time.sleep(DEFER_S)  # at the first exit, launchers end the others: one has to say it

    def lost(self) -> GeorankError:
        """The error for a collective that failed; one process of those that are left says it."""
        if self._heartbeat is None:
            return GeorankError(self._sentence(None))
        says = self._heartbeat.verdict(_VERDICT_S)
        error = GeorankError(self._sentence(self._heartbeat.lost))
        return error if says else said_elsewhere(error, error.exit_code)

    def most(self, number: int) -> int:
        """The largest of the numbers that the processes give."""
        if self._group is None:
            return number
        mine = torch.tensor(number)
        dist.all_reduce(mine, op=dist.ReduceOp.MAX, group=self._group)
        return int(mine.item())

    def gather(self, value: V) -> list[V]:
        """What every process gives, in their order."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * world()[0]
        dist.all_gather_object(values, value, group=self._group)
        return values

    def together(self, work: Callable[[], T]) -> T:
        """Does something in every process, and waits until all have done it.

        Raises:
            GeorankError: In all of them, where it fails in one; that one says why.
        """
        if self._group is None:
            return work()
        result: list[T] = []
        error: GeorankError | OSError | None = None
        try:
            result.append(work())
        except (GeorankError, OSError) as caught:
            error = caught
        code = error.exit_code if isinstance(error, GeorankError) else 1
        mine = None if error is None else (str(error), code)
        told = self.gather(mine)
        failed = [rank for rank, each in enumerate(told) if each is not None]
        if not failed:
            return result[0]
        self._all_know = True
        if failed[0] == world()[1] and error is not None:
            raise error
        text, code = told[failed[0]] or ("", 1)
        raise said_elsewhere(GeorankError(text), code)

    def said_by_first(self, error: GeorankError) -> GeorankError:
        """Marks an error that all processes raise, so that one shows it."""
        self._all_know = True
        return said_elsewhere(error, error.exit_code) if world()[1] else error

    def said_by_one(self, error: GeorankError) -> GeorankError:
        """Marks an error of this process if another one has said why the run ends."""
        if self._group is None or self._all_know or first_to_say():
            return error
        return said_elsewhere(error, error.exit_code)


def refuse(error: GeorankError) -> NoReturn:
    """Raises an error in the caller."""
    raise error


def said_elsewhere(error: GeorankError, code: int) -> GeorankError:
    """The error, not to be shown by this process."""
    error.said_elsewhere, error.exit_code = True, code
    return error


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error of torch says that another process is gone or does not answer."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)

"""A sign of life between the processes of one run."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from georank_zoo.utils.distributed import world

_SAID = "georank/said"
_INTERVAL_S = 1.0
# Process 0 decides who is lost; the others hear of it, and ask what it has said, this much later.
DEFER_S = 2.0
# The store may be on the machine that was lost.
_STORE_S = 5.0
# What the main thread gets to end by itself; it may wait for a GPU that waits for the lost one.
_GRACE_S = 10.0
# What the thread gets to end, which is at the latest when the others have ended theirs.
_END_S = 5.0


class Heartbeat:
    """Exchanges a byte with process 0 each second, in a thread, until one process is lost.

    A killed process shows at once and a stopped one after the time limit, whatever the main thread
    does: a GPU that waits in NCCL for a lost peer waits for ever. If the main thread does not end
    by itself then, this one says the sentence and ends the process.

    Args:
        timeout_s: Time in seconds after which a process that does not answer counts as lost.
        sentence: What to say, given the number of the lost process.

    Attributes:
        lost: Number of the lost process.
    """

    def __init__(self, timeout_s: float, sentence: Callable[[int | None], str]) -> None:
        self.lost: int | None = None
        self._processes, self._rank = world()
        self._sentence = sentence
        patience = timedelta(seconds=timeout_s + (_GRACE_S if self._rank else 0))
        self._group: Any = dist.new_group(backend="gloo", timeout=patience)
        self._at = 0
        self._speaks = False
        self._decided, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it; what happens to the others from now on is no loss.

        A thread that came back from torch while Python shuts down would abort the process.
        """
        self._closed.set()
        self._thread.join(_END_S)
        self._tell_others()

    def leave(self) -> None:
        """Ends it where an error is to be said, and lets the others ask whether it has been."""
        self.close()
        if self._rank == 0:
            time.sleep(DEFER_S + 2)

    def verdict(self, seconds: float) -> bool:
        """Waits for what this thread finds of a loss; whether this process is to say it."""
        return self._speaks if self._decided.wait(seconds) else True

    def _run(self) -> None:
        try:
            while not self._closed.wait(_INTERVAL_S):
                self._beat()
        except (RuntimeError, ValueError):
            if not self._closed.is_set():
                self._decide()

    def _beat(self) -> None:
        sign = torch.zeros(1, dtype=torch.uint8)
        if self._rank:
            dist.send(sign, dst=0, group=self._group)
            dist.recv(sign, src=0, group=self._group)
            return
        others = range(1, self._processes)
        for exchange in (dist.recv, dist.send):
            for other in others:
                self._at = other
                exchange(sign, other, group=self._group)

    def _decide(self) -> None:
        self.lost = self._at
        if self._rank:
            time.sleep(DEFER_S)
        self._speaks = first_to_say()
        if self._rank == 0:
            self._tell_others()
        self._decided.set()
        if self._closed.wait(_GRACE_S):
            return
        if self._speaks:
            sys.stderr.write(f"Error: {self._sentence(self.lost)}\n")
            sys.stderr.flush()
            if self._rank == 0:
                time.sleep(DEFER_S + 2)
        os._exit(1)

    def _tell_others(self) -> None:
        """Closes the connections, which the others see."""
        group, self._group = self._group, None
        if group is not None:
            dist.destroy_process_group(group)


def first_to_say() -> bool:
    """Whether no other process has asked; where the store does not answer, each is the first."""
    answer: list[int] = []

    def ask() -> None:
        try:
            answer.append(dist.distributed_c10d._get_default_store().add(_SAID, 1))
        except (RuntimeError, ValueError):
            answer.append(1)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_STORE_S)
    return not answer or answer[0] == 1

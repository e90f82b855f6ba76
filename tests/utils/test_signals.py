"""Signals that ask a loop to stop."""

import signal

import pytest

from georank_zoo.utils import signals
from georank_zoo.utils.signals import StopSignal


def test_what_a_launcher_passes_on_is_no_second_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_received", [])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopSignal() as stop:
            assert not stop.requested
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            assert stop.requested and stop.number == signal.SIGTERM
            monkeypatch.setattr(signals, "_AGAIN_S", -1.0)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signals.exit_code() == 143
    finally:
        signal.signal(signal.SIGINT, before)

"""The registry of evaluation protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from georank_zoo.errors import UsageError, unknown_name
from georank_zoo.eval.finetune import Finetune
from georank_zoo.eval.knn import KNN
from georank_zoo.eval.linear import Linear
from georank_zoo.eval.linear_sgd import LinearSGD
from georank_zoo.eval.protocol import Protocol

PROTOCOLS: dict[str, type[Protocol]] = {
    kind.name: kind for kind in (KNN, Linear, LinearSGD, Finetune)
}


def make_protocols(names: Sequence[str], **settings: Any) -> list[Protocol]:
    """Protocols, each with those of the settings that are its own.

    Args:
        names: Names in `PROTOCOLS`, each taken once.
        **settings: Values of the protocols' fields; None takes a protocol's default.

    Raises:
        UsageError: If there is no such protocol, or a setting is none of the protocols'.
    """
    unknown = next((name for name in names if name not in PROTOCOLS), None)
    if unknown is not None:
        raise unknown_name("protocol", unknown, PROTOCOLS)
    chosen = [PROTOCOLS[name] for name in dict.fromkeys(names)]
    given = {key: value for key, value in settings.items() if value is not None}
    for key in given:
        if not any(key in _settings(protocol) for protocol in chosen):
            takers = sorted(name for name, kind in PROTOCOLS.items() if key in _settings(kind))
            raise UsageError(
                f"{key.replace('_', '-')} is no setting of protocol {', '.join(names)}; it "
                f"belongs to: {', '.join(takers)}."
            )
    return [
        protocol(**{key: value for key, value in given.items() if key in _settings(protocol)})
        for protocol in chosen
    ]


def _settings(protocol: type[Protocol]) -> set[str]:
    return {field.name for field in fields(protocol)}  # type: ignore[arg-type]

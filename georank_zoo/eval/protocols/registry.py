"""Registries of evaluation protocols: one for classes and labels, one for masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from georank_zoo.data.datasets.base import Target
from georank_zoo.eval.protocols.base import Protocol
from georank_zoo.eval.protocols.finetune import Finetune
from georank_zoo.eval.protocols.knn import KNN
from georank_zoo.eval.protocols.linear import Linear
from georank_zoo.eval.protocols.linear_sgd import LinearSGD
from georank_zoo.eval.protocols.mask_knn import MaskKNN
from georank_zoo.eval.protocols.mask_trained import MaskFinetune, MaskLinear, MaskUPerNet
from georank_zoo.utils.errors import UsageError, unknown_name

PROTOCOLS: dict[str, type[Protocol]] = {
    kind.name: kind for kind in (KNN, Linear, LinearSGD, Finetune)
}
MASK_PROTOCOLS: dict[str, type[Protocol]] = {
    kind.name: kind for kind in (MaskKNN, MaskLinear, MaskUPerNet, MaskFinetune)
}


def as_protocols(
    given: str | Protocol | Sequence[str | Protocol], *, target: Target
) -> list[Protocol]:
    """Protocols of names, with their default settings, among protocols that are there already.

    Raises:
        UsageError: If there is none, or the target has no protocol of a name.
    """
    entries = [given] if isinstance(given, str | Protocol) else list(given)
    if not entries:
        registry = MASK_PROTOCOLS if target == "mask" else PROTOCOLS
        raise UsageError(f"No protocol is given. Choose from: {', '.join(registry)}.")
    return [
        entry if isinstance(entry, Protocol) else make_protocols([entry], target=target)[0]
        for number, entry in enumerate(entries)
        if entry not in entries[:number]
    ]


def make_protocols(
    names: Sequence[str], *, target: Target = "class", **settings: Any
) -> list[Protocol]:
    """Protocols, each with those of the settings that are its own.

    Args:
        names: Their names, each taken once.
        target: Kind of annotation to predict.
        **settings: Values of the protocols' fields; None, and no values where several may be
            given, take a protocol's default.

    Raises:
        UsageError: If the target has no such protocol, or a setting is none of the protocols'.
    """
    registry = MASK_PROTOCOLS if target == "mask" else PROTOCOLS
    unknown = next((name for name in names if name not in registry), None)
    if unknown is not None:
        what = "protocol of masks" if target == "mask" else "protocol of classes and labels"
        raise unknown_name(what, unknown, registry)
    chosen = [registry[name] for name in dict.fromkeys(names)]
    given = {
        key: tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value
        for key, value in settings.items()
        if value is not None and value != ()
    }
    for key in given:
        if not any(key in _settings(protocol) for protocol in chosen):
            takers = sorted(name for name, kind in registry.items() if key in _settings(kind))
            belongs = f"it belongs to: {', '.join(takers)}" if takers else "no protocol here has it"
            raise UsageError(
                f"{key.replace('_', '-')} is not a setting of protocol {', '.join(names)}; "
                f"{belongs}."
            )
    return [
        protocol(**{key: value for key, value in given.items() if key in _settings(protocol)})
        for protocol in chosen
    ]


def _settings(protocol: type[Protocol]) -> set[str]:
    return {field.name for field in fields(protocol)}  # type: ignore[arg-type]

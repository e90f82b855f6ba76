"""The scores of a model card: rows of results.csv, and nothing else.

The rows of a model are found by the SHA-256 of its weights. Beside each stand the rows of its
baseline twin and of the floors that were evaluated in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from georank_zoo.eval.evaluate import SMALL_TEST_SET
from georank_zoo.eval.results.compare import SETTING, baseline_name
from georank_zoo.eval.results.table import Row
from georank_zoo.eval.tasks import TASKS
from georank_zoo.models.encoder import NO_HASH
from georank_zoo.utils.errors import UsageError

_SHORT = 12  # digits of a hash that a card shows
# The learning rate of pretrained weights: another one for the floor `from scratch`.
_OF_PRETRAINED = "backbone_lr="


@dataclass(frozen=True)
class Line:
    """One metric under one setting.

    Attributes:
        row: The model's own row.
        others: The rows of the columns after it; None where there is none.
    """

    row: Row
    others: tuple[Row | None, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows of the line."""
        return (self.row, *(row for row in self.others if row is not None))

    @property
    def is_check(self) -> bool:
        """Whether the score says that the machinery works, and not how good the model is."""
        return self.row.n_test < SMALL_TEST_SET or self.row.task == "synthetic"

    @property
    def protocol(self) -> str:
        """The protocol with its settings."""
        row = self.row
        parts = [] if row.k is None else [f"k={row.k}"]
        parts += [] if row.temperature is None else [f"temperature={row.temperature:g}"]
        parts += row.given_settings.split()
        return f"{row.protocol} ({', '.join(parts)})" if parts else row.protocol


@dataclass(frozen=True)
class Evaluation:
    """The table of a card.

    Attributes:
        baseline: Name of the baseline twin; None where there is no row of one.
        columns: Names of the columns after the model's own: the baseline twin, then the floors.
        lines: The lines, by task and setting.
    """

    baseline: str | None
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows of the table."""
        return tuple(row for line in self.lines for row in line.rows)

    @property
    def twin(self) -> Row | None:
        """A row of the baseline twin."""
        if self.baseline is None:
            return None
        return next(line.others[0] for line in self.lines if line.others[0] is not None)

    @property
    def published(self) -> tuple[Row, ...]:
        """The model's own rows that are results on public data sets, for the model-index."""
        return tuple(
            line.row
            for line in self.lines
            if not line.is_check and line.row.task in TASKS and TASKS[line.row.task].dataset.hub_id
        )


def evaluation_of(
    rows: Sequence[Row],
    *,
    sha256: str,
    name: str,
    architecture: str,
    baseline: str | None = None,
) -> Evaluation | None:
    """The table of a model.

    Args:
        rows: Of results.csv.
        sha256: Of the model's weights.
        name: Of the model.
        architecture: Of the model, for its floors.
        baseline: Name of the baseline twin, or the beginning of its hash; by default the name
            without the regularizer, `moco-r18` for `georank-moco-r18`.

    Returns:
        None if there is no row of the model.

    Raises:
        UsageError: If several models can be the baseline, or a named one has no row.
    """
    own = _newest(row for row in rows if row.model_hash == sha256)
    if not own:
        return None
    keys, floor_keys = {_key(row) for row in own}, {_floor_key(row) for row in own}
    trained = [row for row in rows if row.model_hash not in (sha256, NO_HASH)]
    twins = _newest(_baseline_rows([row for row in trained if _key(row) in keys], name, baseline))
    floors = _newest(
        row for row in rows if row.model_hash == NO_HASH and _floor_key(row) in floor_keys
        and _is_floor_of(row, name, architecture)
    )  # fmt: skip
    twin = twins[0].model.partition(" (")[0] if twins else None
    by_key = {_key(row): row for row in twins}
    names = tuple(dict.fromkeys(_floor_name(row) for row in floors))
    by_floor = {(_floor_name(row), _floor_key(row)): row for row in floors}
    return Evaluation(
        baseline=twin,
        columns=((twin,) if twin else ()) + names,
        lines=tuple(
            Line(
                row,
                ((by_key.get(_key(row)),) if twin else ())
                + tuple(by_floor.get((floor, _floor_key(row))) for floor in names),
            )
            for row in sorted(own, key=lambda row: (row.task, row.protocol, row.image_size))
        ),
    )


def score(row: Row) -> str:
    """A score with its interval, in percent."""
    value, low, high = (f"{100 * number:.1f}" for number in (row.value, row.ci_low, row.ci_high))
    return f"{value} [{low}, {high}]"


def _key(row: Row) -> tuple[object, ...]:
    """What must be equal for two models to stand in one line."""
    return (*(getattr(row, name) for name in SETTING), row.bands, row.metric)


def _floor_key(row: Row) -> tuple[object, ...]:
    """What must be equal for a floor to stand in a model's line."""
    setting = tuple(getattr(row, name) for name in SETTING if name != "given_settings")
    given = [part for part in row.given_settings.split() if not part.startswith(_OF_PRETRAINED)]
    return (*setting, *given, row.bands, row.metric)


def _newest(rows: Iterable[Row]) -> list[Row]:
    """Of a repeated evaluation the newest rows, in the order of the file."""
    found: dict[tuple[object, ...], Row] = {}
    for row in rows:
        who = _floor_name(row) if row.model_hash == NO_HASH else row.model_hash
        key = (who, *_key(row))
        if key not in found or found[key].when <= row.when:
            found[key] = row
    return list(found.values())


def _baseline_rows(trained: Sequence[Row], name: str, baseline: str | None) -> list[Row]:
    """The rows of the baseline twin among those of other models."""
    wanted = baseline or baseline_name(name)
    named = [row for row in trained if wanted == row.model.partition(" (")[0]]
    if baseline is not None and not named and len(baseline) >= 8:
        named = [row for row in trained if row.model_hash.startswith(baseline)]
    if baseline is not None and not named:
        raise UsageError(
            f"No model {baseline!r} was evaluated in the way of {name}. In the results: "
            f"{', '.join(sorted({row.model for row in trained})) or 'none'}."
        )
    hashes = sorted({row.model_hash for row in named})
    if len(hashes) > 1:
        raise UsageError(
            f"The results hold {len(hashes)} models called {wanted}, of which one is the "
            f"baseline of {name}. Choose it by its hash: --baseline {hashes[0][:_SHORT]}; "
            f"there are {', '.join(one[:_SHORT] for one in hashes)}."
        )
    return named


def _floor_name(row: Row) -> str:
    # Floors of models with different inputs are told apart by `(input of ...)`.
    return row.model.partition(" (input of ")[0]


def _is_floor_of(row: Row, name: str, architecture: str) -> bool:
    floor, _, source = row.model.partition(" (input of ")
    if source and source.removesuffix(")").partition(" (")[0] != name:
        return False
    if floor.startswith("random ") or floor.endswith(" from scratch"):
        return floor in (f"random {architecture}", f"{architecture} from scratch")
    return True

"""Scores of a model card: rows of results.csv, and nothing else.

The rows of a model are found by the SHA-256 of its weights, those of its baseline by the name that
its recipe states, and those of its floors by kind, input and architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from georank_zoo.eval.results.notes import SMALL_TEST_SET
from georank_zoo.eval.results.table import Row
from georank_zoo.eval.tasks import TASKS
from georank_zoo.utils.errors import UsageError

_SHORT = 12  # digits of a hash that a card shows


@dataclass(frozen=True)
class Line:
    """One metric under one setting.

    Attributes:
        row: Row of the model itself.
        others: Rows of the columns after it; None where there is none.
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
        """Protocol with its settings."""
        return self.row.protocol_text


@dataclass(frozen=True)
class Evaluation:
    """Table of a card.

    Attributes:
        baseline: Name of the baseline; None where there is no row of one.
        columns: Names of the columns after the model's own: the baseline, then the floors.
        lines: Lines, by task and setting.
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
        """A row of the baseline."""
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
    rows: Sequence[Row], *, sha256: str, baseline: str | None = None
) -> Evaluation | None:
    """The table of a model.

    Args:
        rows: Rows of results.csv.
        sha256: Hash of the model's weights.
        baseline: Name of the baseline, or the beginning of its hash; by default the one that the
            model's rows name.

    Returns:
        None if there is no row of the model.

    Raises:
        UsageError: If several models can be the baseline, or a named one has no row.
    """
    own = _newest(row for row in rows if row.kind == "model" and row.model_hash == sha256)
    if not own:
        return None
    keys = {_key(row) for row in own}
    alike = [row for row in rows if _key(row) in keys and row.model_hash != sha256]
    twins = _newest(_baseline_rows([row for row in alike if row.kind == "model"], own[0], baseline))
    floors = _newest(row for row in alike if _is_floor_of(row, own[0]))
    twin = twins[0].model if twins else None
    by_key = {_key(row): row for row in twins}
    names = tuple(dict.fromkeys(row.model for row in floors))
    by_floor = {(row.model, _key(row)): row for row in floors}
    return Evaluation(
        baseline=twin,
        columns=((twin,) if twin else ()) + names,
        lines=tuple(
            Line(
                row,
                ((by_key.get(_key(row)),) if twin else ())
                + tuple(by_floor.get((floor, _key(row))) for floor in names),
            )
            for row in sorted(own, key=lambda row: (row.task, row.protocol, row.image_size))
        ),
    )


def _key(row: Row) -> tuple[object, ...]:
    """What must be equal for two models to stand in one line."""
    return (*row.setting, row.bands, row.metric)


def _newest(rows: Iterable[Row]) -> list[Row]:
    """Of a repeated evaluation the newest rows, in the order of the file."""
    found: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (row.identity, _key(row))
        if key not in found or found[key].when <= row.when:
            found[key] = row
    return list(found.values())


def _baseline_rows(trained: Sequence[Row], own: Row, baseline: str | None) -> list[Row]:
    """The rows of the baseline among those of other models."""
    wanted = baseline or own.baseline
    named = [row for row in trained if wanted and row.model == wanted]
    if baseline is not None and not named and len(baseline) >= 8:
        named = [row for row in trained if row.model_hash.startswith(baseline)]
    if baseline is not None and not named:
        raise UsageError(
            f"No model {baseline!r} was evaluated in the way of {own.model}. In the results: "
            f"{', '.join(sorted({row.title for row in trained})) or 'none'}."
        )
    hashes = sorted({row.model_hash for row in named})
    if len(hashes) > 1:
        raise UsageError(
            f"The results hold {len(hashes)} models called {wanted}, of which one is the "
            f"baseline of {own.model}. Choose it by its hash: --baseline {hashes[0][:_SHORT]}; "
            f"there are {', '.join(one[:_SHORT] for one in hashes)}."
        )
    return named


def _is_floor_of(row: Row, own: Row) -> bool:
    if row.kind == "model" or row.input_hash != own.input_hash:
        return False
    return row.kind == "image-statistics" or row.architecture == own.architecture

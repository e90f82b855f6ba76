"""The record of a step whose loss was not finite."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, PositiveInt

from georank_zoo.training.batches import PlaceBatches
from georank_zoo.utils.documents import STRICT, parse_document, read_limited
from georank_zoo.utils.errors import ModelError, UsageError
from georank_zoo.utils.files import write_text

FAILURE = "failure.json"
_REMEDY = "Put back a copy of it; the steps are taken again by `georank train --resume`."


class Failure(BaseModel):
    """A step whose loss was not finite.

    Attributes:
        step: Its number; the first step is 1.
        terms: The loss and its terms, as text, for JSON has no NaN.
        patches: Positions in the store (dates, batch size) of what the step saw, over all
            processes and parts.
        keys: Their source files and windows.
        processes: Number of processes.
    """

    model_config = STRICT

    step: PositiveInt
    terms: dict[str, str]
    patches: list[list[int]]
    keys: list[list[str]]
    processes: PositiveInt

    @classmethod
    def of(
        cls, step: int, terms: dict[str, float], batches: PlaceBatches, processes: int
    ) -> Failure:
        """The record of a step."""
        patches, keys = batches.patches_of_step(step - 1).tolist(), batches.store.keys
        return cls(
            step=step,
            terms={name: str(value) for name, value in terms.items()},
            patches=patches,
            keys=[[keys[patch] for patch in row] for row in patches],
            processes=processes,
        )

    def write(self, run: Path) -> None:
        """Writes it into a run folder."""
        write_text(run / FAILURE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, run: Path) -> Failure:
        """The record in a run folder.

        Raises:
            UsageError: If there is none.
            ModelError: If it is damaged.
        """
        path = run / FAILURE
        if not path.is_file():
            raise UsageError(
                f"{run} has no {FAILURE}: no loss of this run was found not to be finite."
            )
        text = read_limited(path, error=ModelError, remedy=_REMEDY)
        return parse_document(cls, text, where=path, error=ModelError, remedy=_REMEDY)

    def require_of(self, run: Path, batches: PlaceBatches, steps: int) -> None:
        """Checks that a run of so many steps sees these patches in this step.

        Raises:
            ModelError: If it does not.
        """
        if self.step > steps or batches.patches_of_step(self.step - 1).tolist() != self.patches:
            raise ModelError(
                f"{run / FAILURE} is damaged: its patches are not those of step {self.step}. "
                f"{_REMEDY}"
            )

"""Linear evaluation: logistic regression on frozen features, solved to its optimum.

Multinomial for classes; for several labels a sample one binary regression per label.

The problem is convex, so nothing but the L2 strength is left to choose, and no learning rate,
order of samples or number of epochs can favor a model. The solver is scipy's full-batch L-BFGS,
in float64, with loss and gradient by torch. It is not scikit-learn's LogisticRegression, with which
it agrees (tests/eval/protocols/test_linear.py): hundreds of thousands of features and a sweep of
strengths want the GPU, and a class without a training sample must need no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from georank_zoo.eval.protocols.base import EvalContext, EvalPlan, Prediction, Protocol
from georank_zoo.eval.protocols.logits import cross_entropy, predict, validation_score
from georank_zoo.eval.splits.make import hold_out_validation, require_held_out
from georank_zoo.utils.errors import UsageError

# On the mean cross-entropy of standardized features: from hardly any class told apart to nearly
# free. scikit-learn's C is 1 / (samples * l2).
L2 = tuple(10.0**exponent for exponent in range(1, -7, -1))
_MAX_ITERATIONS = 1000
_GRADIENT = 1e-7  # largest entry at the optimum; the losses are of order 1


@dataclass(frozen=True)
class Linear(Protocol):
    """Logistic regression on standardized features.

    Attributes:
        l2: Strength; of several, validation chooses one.
    """

    name: ClassVar[str] = "linear"
    l2: float | Sequence[float] = L2

    @property
    def strengths(self) -> tuple[float, ...]:
        """All strengths to choose from."""
        return (float(self.l2),) if isinstance(self.l2, int | float) else tuple(self.l2)

    def check(self, plan: EvalPlan) -> None:
        """Raises UsageError where a strength is not positive or the split holds nothing out."""
        given = self.strengths
        if not given or not all(0 < strength < float("inf") for strength in given):
            raise UsageError(f"L2 strengths must be positive numbers, not {list(given)}.")
        require_held_out(plan.split, self.name)
        if len(given) > 1:
            hold_out_validation(plan.split, seed=plan.seed)

    def predict(self, context: EvalContext) -> list[Prediction]:
        """Chooses the strength on validation, then fits all training samples with it."""
        given = self.strengths
        progress = _Progress(context.on_progress, fits=1 if len(given) == 1 else len(given) + 1)
        strength = given[0] if len(given) == 1 else self._choose(context, progress)
        split, features = context.split, context.features
        train, test = standardize_features(features[split.train], features[split.test])
        head = fit(train, split.label[split.train], context.num_classes, strength,
                   device=context.device, on_iteration=progress.iterated)  # fmt: skip
        progress.fitted()
        predicted = predict(head(test), multi_label=split.multi_label)
        if len(given) == 1:
            return [Prediction(predicted, settings={"l2": strength})]
        return [Prediction(predicted, settings={"l2": list(given)}, chosen={"l2": strength})]

    def describe(self) -> str:
        """How the strength came about."""
        chosen = (
            "strength fixed"
            if len(self.strengths) == 1
            else "strength chosen on validation, then fitted to all training samples"
        )
        return f"logistic regression on frozen standardized features, L2 {chosen}"

    def _choose(self, context: EvalContext, progress: _Progress) -> float:
        fitted, held = hold_out_validation(context.split, seed=context.seed)
        train, validation = standardize_features(context.features[fitted], context.features[held])
        label, best, head = context.split.label, (-1.0, 0.0), None
        # The strong ones are solved in a few steps, and of equal ones the strongest is kept.
        for strength in sorted(self.strengths, reverse=True):
            head = fit(train, label[fitted], context.num_classes, strength, start=head,
                       device=context.device, on_iteration=progress.iterated)  # fmt: skip
            progress.fitted()
            score = validation_score(head(validation), label[held])
            if score > best:
                best, chosen = score, strength
        return chosen


class _Progress:
    """Progress of fits, of which each counts the same: how many iterations it takes, nobody knows.

    Within a fit the iterations are those of the longest one allowed; its end jumps ahead.
    """

    def __init__(self, report: Callable[[int, int], None] | None, *, fits: int) -> None:
        self._report = report
        self._total = fits * _MAX_ITERATIONS
        self._fits = self._iterations = 0

    def iterated(self) -> None:
        """Counts an iteration; the last one allowed is left to `fitted`."""
        self._iterations = min(self._iterations + 1, _MAX_ITERATIONS - 1)
        self._tell()

    def fitted(self) -> None:
        """Counts a fit."""
        self._fits, self._iterations = self._fits + 1, 0
        self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            self._report(self._fits * _MAX_ITERATIONS + self._iterations, self._total)


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier.

    Attributes:
        weight: (C, D + 1), the bias last.
    """

    weight: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (N, C) of features (N, D), on the CPU."""
        return features @ self.weight[:, :-1].T + self.weight[:, -1]


def standardize_features(
    train: npt.NDArray[np.float32], *others: npt.NDArray[np.float32]
) -> tuple[torch.Tensor, ...]:
    """Features (., D) in float64 with the mean and standard deviation of the first ones.

    A feature that is the same everywhere there becomes 0 there.
    """
    known = torch.from_numpy(train).double()
    std, mean = torch.std_mean(known, dim=0, correction=0)
    # Sums of float32 numbers leave a constant feature a standard deviation of about 1e-16.
    std = torch.where(std > 1e-7 * mean.abs(), std, 1.0)
    return tuple((torch.from_numpy(part).double() - mean) / std for part in (train, *others))


def fit(
    features: torch.Tensor,
    label: npt.NDArray[np.int64],
    num_classes: int,
    l2: float,
    *,
    start: LinearHead | None = None,
    device: str | torch.device = "cpu",
    on_iteration: Callable[[], None] | None = None,
) -> LinearHead:
    """Minimizes mean cross-entropy + l2 / 2 * ||weight||^2; the bias is free.

    Args:
        features: Standardized features (N, D), float64.
        label: Classes (N,), or labels (N, C) as 0 and 1.
        num_classes: Number of classes, C.
        l2: Strength.
        start: Weights to begin with; zero by default.
        device: Device to compute on.
        on_iteration: Called after each iteration.
    """
    # MPS has no float64.
    device = "cpu" if torch.device(device).type == "mps" else device
    x, y = features.to(device), torch.from_numpy(label).to(device)
    shape = (num_classes, features.shape[1] + 1)
    begin = np.zeros(shape) if start is None else start.weight.numpy()

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weight = torch.from_numpy(flat).view(shape).to(device)
        logits = torch.addmm(weight[:, -1], x, weight[:, :-1].T)
        value = cross_entropy(logits, y) + l2 / 2 * weight[:, :-1].square().sum()
        if y.ndim == 2:
            residual = logits.sigmoid_() - y
        else:
            residual = logits.softmax(dim=1)
            residual[torch.arange(len(y), device=device), y] -= 1
        residual /= len(y)
        slope = torch.cat((residual.T @ x + l2 * weight[:, :-1], residual.sum(0)[:, None]), dim=1)
        return float(value), slope.flatten().cpu().numpy()

    options = {"maxiter": _MAX_ITERATIONS, "gtol": _GRADIENT, "ftol": 0.0, "maxcor": 20}
    found = minimize(
        loss, begin.flatten(), jac=True, method="L-BFGS-B", options=options,
        callback=None if on_iteration is None else lambda _: on_iteration(),
    )  # fmt: skip
    return LinearHead(torch.from_numpy(found.x).view(shape))

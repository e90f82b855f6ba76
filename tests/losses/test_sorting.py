"""Both ways of sorting rows give sorted rows."""

import pytest
import torch

from georank_zoo.losses import soft_rank as sorting
from georank_zoo.losses.soft_rank import sort_rows


@pytest.mark.parametrize("numpy_up_to", [0, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sort_rows(numpy_up_to: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "NUMPY_UP_TO_THREADS", numpy_up_to)
    values = torch.randn(5, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    values[1, 7] = float("nan")
    ordered, order = sort_rows(values.requires_grad_())
    assert torch.equal(ordered.nan_to_num(9), values.nan_to_num(9).sort(dim=1).values)
    assert torch.equal(values.gather(1, order).nan_to_num(9), ordered.nan_to_num(9))
    assert ordered[1, -1].isnan()

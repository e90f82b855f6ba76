import itertools
import math

import pytest

from georank_zoo.utils.schedules import warmup_cosine


def test_warmup_then_half_a_cosine_over_the_whole_run() -> None:
    factors = [warmup_cosine(s, total=110, warmup=10, final=0.1) for s in range(111)]
    assert factors[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert factors[9] == factors[10] == 1
    assert factors[60] == pytest.approx(0.1 + 0.9 * 0.5)
    assert factors[35] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert factors[110] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))


def test_no_warmup_and_a_run_of_warmup_only() -> None:
    assert warmup_cosine(0, total=5, warmup=0, final=0.0) == 1
    assert warmup_cosine(4, total=5, warmup=5, final=0.0) == 1

"""Each algorithm trains from a recipe and resumes to the same run."""

from pathlib import Path

import pytest
import torch

from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.losses import REGULARIZERS
from georank_zoo.training import trainer
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.run import open_run
from georank_zoo.utils.errors import Interrupted
from tests.support.models import make_store
from tests.support.small_algorithms import SMALL
from tests.support.training import TINY, StopAt, assert_equal_runs, weights


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    places = [*range(32), *range(32)]
    return make_store(tmp_path_factory.mktemp("store") / "store", [0] * 64, places=places)


# DINO is stopped while its last layer rests.
MORE = {"dino": ["algorithm.freeze_last_layer_epochs=2", "views.local_views=2"]}
RUNS = [*((name, "georank") for name in ALGORITHMS), *(("moco", name) for name in REGULARIZERS)]


@pytest.mark.parametrize(("name", "regularizer"), RUNS)
def test_resume_is_the_same_run(
    name: str, regularizer: str, store: PatchStore, tmp_path: Path
) -> None:
    plan = load_recipe(
        "moco_georank",
        [
            f"data.store={store.path}",
            *(item for item in TINY if not item.startswith("algorithm")),
            f"algorithm={ {'name': name, **SMALL[name]} }",
            f"regularizer={ {'name': regularizer} }",
            "optimizer.name=adam",
            "optimizer.lr=0.001",
            "views.local_size=8",
            *MORE.get(name, []),
        ],
    )
    whole = trainer.train(plan, tmp_path / "whole")
    with pytest.raises(Interrupted, match="after step 5 of 12"):
        trainer.train(plan, tmp_path / "parts", reporter=StopAt(4))
    start = weights(open_run(tmp_path / "parts"))
    assert_equal_runs(whole, trainer.train(plan, tmp_path / "parts", resume=True))
    trained = weights(whole)
    assert all(torch.isfinite(value).all() for value in trained.values())
    assert not torch.equal(start["backbone.conv1.0.weight"], trained["backbone.conv1.0.weight"])

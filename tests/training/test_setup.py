"""A start of training builds each part once, and shows a bar where it is wanted."""

from collections import Counter
from pathlib import Path

import pytest

from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.training import batches, build, probe, setup
from georank_zoo.training.recipe import load_recipe
from georank_zoo.training.setup import Setup
from georank_zoo.training.trainer import train
from georank_zoo.utils.errors import Interrupted, StoreError
from georank_zoo.utils.progress import TrainingBar
from georank_zoo.views import Views
from tests.support.models import make_store
from tests.support.training import TINY


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    labels = [place % 2 for place in range(32)]
    return make_store(tmp_path_factory.mktemp("setup") / "store", labels)


def count(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, calls: Counter[str]) -> None:
    function = getattr(owner, name)

    def counted(*args: object, **kwargs: object) -> object:
        calls[name] += 1
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


def test_each_part_is_built_once(store: PatchStore, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(
        "moco_georank", TINY, data={"store": store.path, "neighbors_km": 500}, probe=store.path
    )
    calls: Counter[str] = Counter()
    for owner, name in (
        (Views, "__post_init__"), (build, "build_backbone"), (build, "_try"),
        (batches, "order_in_pairs"), (PatchStore, "__init__"),
    ):  # fmt: skip
        count(monkeypatch, owner, name, calls)
    built = Setup.from_recipe(recipe)
    list(built.advice())
    built.batches[0]
    # The views, and the stores of the run and of the probe.
    assert (calls.pop("__post_init__"), calls.pop("__init__")) == (1, 2)
    assert calls == {"build_backbone": 1, "_try": 1, "order_in_pairs": 1}


def test_views_are_built_once_in_a_whole_start(
    store: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    recipe = load_recipe("dino_georank", DINO, data=store)
    count(monkeypatch, setup, "build_views", calls)
    count(monkeypatch, Views, "__post_init__", calls)
    monkeypatch.setattr("georank_zoo.training.loop.Loop.run", _stop)
    with pytest.raises(Interrupted):
        train(recipe, tmp_path / "run", progress=False)
    # And once more where the recipe of the new folder is read and checked.
    assert calls == {"build_views": 1, "__post_init__": 2}


DINO = [
    *(item for item in TINY if not item.startswith("algorithm")), "algorithm.output_dim=16",
    "views.local_size=8",
]  # fmt: skip


def _stop(_loop: object) -> None:
    raise Interrupted("stopped")


class Watched(TrainingBar):
    made: list["Watched"]

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.made.append(self)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    made: list[Watched] = []
    monkeypatch.setattr(Watched, "made", made, raising=False)
    monkeypatch.setattr("georank_zoo.training.trainer.TrainingBar", Watched)
    return made


def test_a_bar_with_losses_that_stdout_does_not_see(
    store: PatchStore, tmp_path: Path, bars: list[Watched], capsys: pytest.CaptureFixture[str]
) -> None:
    train(load_recipe("moco_georank", TINY, data=store), tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == "" and "12/12" in err and "georank 0." in err and "img/s" in err
    assert "Exported to" in err
    assert len(bars) == 1 and bars[0]._bar.disable  # closed


def test_an_interrupted_bar_is_closed(
    store: PatchStore, tmp_path: Path, bars: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Watched.advance

    def stop(bar: Watched, step: int, metrics: dict[str, float]) -> None:
        advance(bar, step, metrics)
        if step == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watched, "advance", stop)
    with pytest.raises(Interrupted):
        train(load_recipe("moco", TINY, data=store), tmp_path / "run")
    assert bars[0]._bar.n == 8 and bars[0]._bar.disable


def test_no_bar_where_none_is_wanted(
    store: PatchStore, tmp_path: Path, bars: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe("moco", TINY, data=store)
    train(recipe, tmp_path / "run", progress=False)
    # Of several processes only the first one shows a bar.
    monkeypatch.setattr("accelerate.Accelerator.is_main_process", False)
    with pytest.raises(StoreError, match="No store"):
        train(load_recipe("moco", TINY, data="nowhere"), tmp_path / "other")
    assert bars == []


def test_recipe_by_name_or_path_into_the_default_folder(
    store: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("moco", TINY, data=store)
    Path("mine.yaml").write_text(recipe.to_yaml())
    run = train("mine.yaml", progress=False)
    assert run.path == Path("runs/moco-r18") and run.recipe == recipe
    with pytest.raises(StoreError, match="No store at ssl4eo-s12"):
        train("moco", "out", progress=False)
    assert probe.Probe.from_recipe(recipe, mean=(), std=()) is None

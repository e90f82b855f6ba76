"""Recipes: every shipped one, what is refused and how, round trip, hash, schema."""

from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml

from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.losses import GeoRankLoss
from georank_zoo.training import build
from georank_zoo.training.json_schema import json_schema
from georank_zoo.training.recipe import list_recipes, load_recipe, parse_recipe
from georank_zoo.utils.errors import RecipeError
from tests.support.command_line import run

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_build(name: str) -> None:
    loaded = load_recipe(name)
    assert loaded.summary and loaded.cost and loaded.mirrors
    objective = build.build_objective(loaded, build.build_views(loaded))
    assert build.build_optimizer(loaded, objective).param_groups


@pytest.mark.parametrize("name", list_recipes())
def test_models_are_named_after_their_recipes(name: str) -> None:
    loaded = load_recipe(name)
    algorithm, _, regularizer = name.partition("_")
    if algorithm == "study":
        georank = loaded.regularizer.name == "georank"
        assert loaded.name.startswith(("georank-" if georank else "") + "moco-r18-")
    else:
        assert loaded.algorithm.name == algorithm
        assert loaded.name == (f"{regularizer}-" if regularizer else "") + f"{algorithm}-r18"
    names = [load_recipe(other).name for other in list_recipes()]
    assert names.count(loaded.name) == 1


def test_recipes_are_listed_with_numbers_in_their_order() -> None:
    studies = [name for name in list_recipes() if name.startswith("study_places")]
    assert studies == [f"study_places_{n}k" for n in (10, 25, 50, 100, 250)]
    assert [load_recipe(name).data.places for name in studies] == [
        10_000, 25_000, 50_000, 100_000, 250_000,
    ]  # fmt: skip


@pytest.mark.parametrize("name", list_recipes())
def test_resolved_recipe_reads_back_equal(name: str) -> None:
    loaded = load_recipe(name)
    again = parse_recipe(loaded.to_yaml(), where="text")
    assert again == loaded and again.hash == loaded.hash


@pytest.mark.parametrize("name", [name for name in list_recipes() if name.endswith("_georank")])
def test_georank_differs_from_its_baseline_by_the_regularizer_alone(name: str) -> None:
    loaded = load_recipe(name)
    base, georank = load_recipe(name.removesuffix("_georank")).model_dump(), loaded.model_dump()
    differing = {key for key in base if base[key] != georank[key]}
    assert differing <= {"name", "summary", "baseline", "mirrors", "regularizer"}
    assert (georank["baseline"], base["baseline"]) == (base["name"], "")
    # One regularizer for all, as in the published comparison.
    assert loaded.regularizer == load_recipe("moco_georank").regularizer
    objective = build.build_objective(loaded, build.build_views(loaded))
    assert isinstance(objective.regularizer, GeoRankLoss)


@pytest.mark.parametrize(
    ("name", "base", "key", "value"),
    [
        ("study_places_25k", "moco_georank", ("data", "places"), 25_000),
        ("study_px_60", "moco_georank", ("views", "size"), 60),
        ("study_px_264", "moco_georank", ("views", "size"), 264),
        ("study_temporal_off", "moco_georank", ("data", "temporal"), False),
        ("study_standard", "moco", ("views", "name"), "standard"),
    ],
)
def test_a_study_differs_from_its_base_by_one_thing(
    name: str, base: str, key: tuple[str, str], value: object
) -> None:
    study, basis = load_recipe(name).model_dump(), load_recipe(base).model_dump()
    section, option = key
    assert study[section][option] == value != basis[section].get(option)
    differing = {key for key in basis if basis[key] != study[key]}
    assert differing <= {"name", "summary", "baseline", "cost", "mirrors", section}
    assert not study["baseline"], "that of its base is of other data or views"
    if section != "views" or option == "size":
        assert {**basis[section], option: value} == study[section]


def test_small_crops_are_for_algorithms_that_take_them() -> None:
    message = (
        r"views\.local_views: moco does not take small crops; set it to 0 instead of 4, or choose "
        "dino"
    )
    with pytest.raises(RecipeError, match=message):
        load_recipe("moco", ["views.local_views=4"])
    with pytest.raises(RecipeError, match=message):
        load_recipe("dino_georank", ["algorithm.name=moco"])
    assert load_recipe("dino", ["views.local_views=0"]).views.options()["local_views"] == 0


def test_many_wrong_keys_name_the_valid_ones_once() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("moco", [f"wrong{number}=1" for number in range(9)])
    text = str(caught.value)
    assert text.count("Unknown key") == 9 and text.count("Choose from") == 1


def test_path_and_name_find_the_same_recipe(monkeypatch, tmp_path) -> None:
    by_name = load_recipe("moco")
    assert load_recipe(RECIPES / "moco.yaml") == by_name
    monkeypatch.chdir(tmp_path)
    assert load_recipe("recipes/moco.yaml") == by_name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("regularizer.alhpa=1", "regularizer.alhpa: Unknown key 'alhpa'. Did you mean 'alpha'?"),
        ("algorithm.tau=0.1", "Choose from: hidden_dim, momentum"),
        ("foo=1", "foo: Unknown key 'foo'"),
        ("algorithm.name=mocov2", "Unknown algorithm 'mocov2'. Did you mean 'moco'?"),
        ("regularizer.name=geomse", "Unknown regularizer 'geomse'"),
        ("regularizer=3", "give a name, one of: geo_classes, geobasic, georank, none"),
        ("optimizer.lr=fast", "optimizer.lr: Input should be a valid number"),
        ("optimizer.lr=-1", "optimizer.lr: Input should be greater than 0"),
        ("data.bands=B02,B99", "Unknown band 'B99'"),
        ("data.store=null", "data.store: Input should be a valid string"),
        ("data.places=0", "data.places: Input should be greater than 0"),
        ("data.neighbors_km=0", "data.neighbors_km: Input should be greater than 0"),
        ("views.local_sizes=3", "Did you mean 'local_size'?"),
        ("train.accumulate=3", "batch_size 512 must be a multiple of accumulate 3"),
        ("name=a/b", "name: String should match pattern"),
        ("algorithm.name=[a]", "Unknown algorithm ['a']"),
        ("optimizer.weight_decay=0", "lars needs a weight_decay above 0"),
        ("train.batch_size", "An override is section.key=value"),
        ("train.batch_size=[", "The value of train.batch_size is not valid YAML, line 1"),
        ("regularizer.temperature=.nan", "temperature: Input should be a finite number"),
        ("regularizer.temperature=0", "temperature and strength must be above 0"),
        ("regularizer.max_km=.inf", "max_km: Input should be a finite number"),
        ("regularizer.min_km=5000", "need 0 <= min_km < max_km"),
        ("regularizer.alpha=1.5", "regularizer.alpha: Input should be less than or equal to 1"),
        ("regularizer.margin=-1", "margin must not be negative"),
        ("algorithm.temperature=.nan", "algorithm.temperature: Input should be a finite number"),
        ("algorithm.temperature=-1", "MoCo: temperature must be above 0"),
        ("algorithm.momentum=2", "MoCo: momentum must lie in [0, 1]"),
        ("algorithm.queue_size=0", "The queue needs a size of 1 or more"),
        ("algorithm.hidden_dim=-5", "hidden_dim must be 1 or more"),
        ("views.size=-1", "views.size must be 1 or more"),
        ("views.scale=[0.5, 0.1]", "views.scale needs 0 < low <= high"),
        ("views.flip=7", "views.flip is a probability"),
        ("views.local_size=500", "views.local_size must lie between 1 and views.size"),
        ("optimizer.lr=.nan", "optimizer.lr: Input should be a finite number"),
        ("optimizer.lr=.inf", "optimizer.lr: Input should be a finite number"),
        ("train.steps=-3", "train.steps: Input should be greater than 0"),
        ("train.accumulate=512", "at most 256"),
        ("optimizer.lr=true", "optimizer.lr: Input should be a number (given: True)"),
        ("seed=true", "seed: Input should be a number"),
        ("algorithm.queue_size=true", "algorithm.queue_size: Input should be a number"),
        (f"seed={2**70}", "seed: Input should be less than"),
        (f"train.steps={10**30}", "train.steps: Input should be less than or equal to"),
        ("probe.image_size=1", "probe.image_size: Input should be greater than or equal to 8"),
        ("views.size=1000000", "views.size: 1000000 px are more than"),
        ("algorithm.queue_size=1000000000000", "algorithm: its heads and queue would take"),
        ("algorithm.hidden_dim=1000000000", "algorithm: its heads and queue would take"),
        ("data.places=100", "100 places are fewer than a batch"),
        ("data.store=''", "data.store: String should have at least 1 character"),
        ("schedule.warmup_epochs=.nan", "warmup_epochs: Input should be a finite number"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        (f"name={'a' * 5000}", "name: String should have at most 96 characters"),
        (f"{'a.' * 5000}b=1", "is not a key of a recipe"),
        ("seed.x=1", "'seed' is not a section"),
    ],
)
def test_what_is_refused_and_how(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("moco_georank", [override])
    assert message in str(error.value)


def test_unknown_backbone_is_named_with_near_ones() -> None:
    loaded = load_recipe("moco", ["backbone.name=resnet81"])
    with pytest.raises(RecipeError, match="resnet18"):
        build.build_algorithm(loaded, build.build_views(loaded))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML, line 1"),
        ("- 1", "not a recipe"),
        ("", "not a recipe: it must hold keys and values, not nothing"),
        ("7", "not a recipe"),
        ("!!python/object/apply:os.system ['true']", "line 1, column 1: the type !!python"),
        (
            "name: x\nseed: 1\nname: y",
            "line 3, column 1: the key 'name' stands twice, first in line 1",
        ),
        ("data:\n  store: x\n  store: y", "line 3, column 3: the key 'store' stands twice"),
        ("a: &a x\nb: *a", "line 2, column 4: the alias *a is not allowed"),
        ("x:\n\ttabs: 1", "line 2"),
        ("1: x", "line 1, column 1: a key must be a text, not 1"),
        ("? [a]\n: x", "a key must be a text"),
        ("null: x", "a key must be a text"),
        ("<<: {a: 1}", "Unknown key '<<'"),
        ("a: !!set {x}", "line 1, column 4: the type !!set is not allowed"),
        ("a: !!binary aGk=", "line 1, column 4: the type !!binary is not allowed"),
        ("a: !!timestamp x", "the type !!timestamp is not allowed"),
        ("a: !!int x", "line 1, column 4: x is no int"),
        ("a: !!int ''", "is no int"),
        ("a: !!bool x", "is no bool"),
        ("a: !!map [x]", "the type !!map is not allowed"),
        ("a: !!seq x", "the type !!seq is not allowed"),
        ("a: !!str {x: 1}", "the type !!str is not allowed"),
        (f"seed: {'9' * 5000}", "is no int"),
        ("a: " + "{b: " * 30 + "1" + "}" * 30, "nested deeper than 16 levels"),
        ("a: bcdefghi\nb: \0", "NUL byte in line 2"),
        ("a: b\nc: \x07", "line 2, column 4: the character U+0007 is not allowed"),
        ("a: b\n---\nc: d", "expected a single document"),
        ("summary: " + "x" * 300_000, "more than a recipe has"),
        ('summary: "\\UFFFFFFFF"', "stands for no character"),
        ("extends: " + "a" * 5000, "extends: give the name of a recipe"),
        ("\n".join(f"k{i}: 1" for i in range(9000)), "and 8986 more"),
        ("extends: [moco]", "extends: give the name of a recipe"),
        ("extends: nowhere", "Unknown recipe 'nowhere'"),
        ("extends: self", "circle"),
        ("name: x", "train: missing."),
        ("[" * 10_000, "not valid YAML"),
        ('"\\e[2J": 1', r"\x1b[2J: Unknown key"),
        ('seed: "\\e[2J"', "seed: Input should be a valid integer"),
    ],
)
def test_bad_files(text: str, message: str, tmp_path) -> None:
    path = tmp_path / "self.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert message in str(error.value)
    assert all(line.isprintable() for line in str(error.value).splitlines())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_recipe_in_another_encoding_is_the_same(encoding: str, tmp_path) -> None:
    text = "extends: moco\nsummary: über Äcker, 2020-01-01\n"
    (tmp_path / "r.yaml").write_text(text, encoding=encoding)
    assert load_recipe(tmp_path / "r.yaml").summary == "über Äcker, 2020-01-01"
    (tmp_path / "r.yaml").write_text("summary: 2020-01-01\nextends: moco\n", encoding=encoding)
    assert load_recipe(tmp_path / "r.yaml").summary == "2020-01-01"  # a text, no date
    (tmp_path / "r.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError, match=r"not UTF-8 text: byte 23 \(line 2\)"):
        load_recipe(tmp_path / "r.yaml")


def test_loading_draws_no_random_number() -> None:
    torch.manual_seed(0)
    load_recipe("moco_georank")
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize("source", ["nope.yaml", "here/nope", "mocco"])
def test_missing_recipe(source: str, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="moco"):
        load_recipe(source)


def test_overrides() -> None:
    loaded = load_recipe(
        "moco_georank", ["optimizer.lr=1e-3", "train.steps=7", "data.bands=[B04, B03]"]
    )
    assert loaded.optimizer.lr == 1e-3
    assert (loaded.train.steps, loaded.train.epochs) == (7, None)
    assert loaded.bands == ("B04", "B03")
    # Another component starts from its own defaults, not from the last one's options.
    assert load_recipe("moco_georank", ["regularizer.name=none"]).regularizer.options() == {}


def test_sections_as_keywords_are_overrides() -> None:
    by_keyword = load_recipe(
        "moco_georank", seed=3, data="stores/mine", train={"steps": 7}, views="standard",
        regularizer={"alpha": 0.9}, algorithm={"queue_size": 512}, probe=Path("stores/probe"),
    )  # fmt: skip
    by_text = load_recipe(
        "moco_georank",
        [
            "seed=3", "data.store=stores/mine", "train.steps=7", "views.name=standard",
            "regularizer.alpha=0.9", "algorithm.queue_size=512", "probe.store=stores/probe",
        ],
    )  # fmt: skip
    assert by_keyword == by_text
    assert by_keyword.views.options()["scale"] == (0.2, 1.0)  # what both views have is kept
    assert load_recipe("moco_georank", regularizer="none") == load_recipe(
        "moco_georank", ["regularizer.name=none"]
    )


def test_values_of_python_are_taken() -> None:
    rate = np.logspace(-3, -1, 3)[1]
    loaded = load_recipe(
        "moco", optimizer={"lr": rate}, train={"batch_size": np.int64(64)}, data={"bands": ["B04"]}
    )
    assert loaded.optimizer.lr == 0.01 and loaded.train.batch_size == 64
    assert "lr: 0.01\n" in loaded.to_yaml() and loaded.bands == ("B04",)
    other = load_recipe("dino", views=loaded.views, optimizer=loaded.optimizer)
    assert other.views == loaded.views and other.optimizer == loaded.optimizer


def test_a_name_goes_first_and_texts_over_keywords() -> None:
    changed = {"temperature": 0.2, "name": "simclr"}
    assert load_recipe("moco", algorithm=changed).algorithm.options()["temperature"] == 0.2
    loaded = load_recipe("moco", ["train.steps=5"], train={"epochs": 9})
    assert (loaded.train.steps, loaded.train.epochs) == (5, None)
    assert load_recipe("moco", "seed=4").seed == 4  # a single text is no sequence of letters


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"trian": {"steps": 3}}, "trian: Unknown key 'trian'. Did you mean 'train'?"),
        ({"train": {"stesp": 3}}, "train.stesp: Unknown key 'stesp'. Did you mean 'steps'?"),
        ({"train": 500}, "train: Input should be a valid dictionary"),
        ({"seed": {"x": 1}}, "'seed' is not a section"),
        ({"regularizer": "geornk"}, "Unknown regularizer 'geornk'. Did you mean 'georank'?"),
        ({"views": None}, "Unknown views None"),
    ],
)
def test_sections_are_refused_as_texts_are(sections: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("moco_georank", **sections)
    assert message in str(error.value)


def test_an_entry_that_is_registered_later_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    load_recipe("moco")

    class Later(ALGORITHMS["moco"]):  # type: ignore[misc]
        def __init__(self, backbone: object, *, width: int = 3) -> None:
            torch.nn.Module.__init__(self)

    monkeypatch.setitem(ALGORITHMS, "later", Later)
    assert load_recipe("moco", algorithm="later").algorithm.options() == {"width": 3}

    class Again(Later):  # a cell of a notebook that is run again
        def __init__(self, backbone: object, *, depth: int = 5) -> None:
            torch.nn.Module.__init__(self)

    monkeypatch.setitem(ALGORITHMS, "later", Again)
    assert load_recipe("moco", algorithm="later").algorithm.options() == {"depth": 5}


def test_list_recipes_by_pattern() -> None:
    assert list_recipes("*_georank") == [n for n in list_recipes() if n.endswith("_georank")]
    assert list_recipes("nothing*") == []


def test_a_recipe_shows_itself() -> None:
    loaded = load_recipe("moco_georank", summary="<b>", data="a&b")
    assert repr(loaded) == (
        "Recipe('georank-moco-r18', moco + georank on resnet18, 12 bands of 120 px, "
        "50 epochs of 'a&b')"
    )
    html = loaded._repr_html_()
    assert "regularizer.alpha" in html and "a&amp;b" in html and "<b>" not in html
    assert "moco on resnet18" in repr(load_recipe("moco")) and str(loaded) == loaded.to_yaml()


def test_a_path_is_taken_as_it_is() -> None:
    for path in ("/data/my #2 store", "2024", "a: b"):
        assert load_recipe("moco", data=path).data.store == path


def test_extending_a_file_beside(tmp_path) -> None:
    (tmp_path / "base.yaml").write_text((RECIPES / "moco.yaml").read_text())
    child = tmp_path / "child.yaml"
    child.write_text("extends: base\nname: child\ntrain: {batch_size: 64}\n")
    loaded = load_recipe(child)
    assert loaded.train.batch_size == 64 and loaded.train.epochs == 50


def test_hash_is_of_what_is_computed() -> None:
    base = load_recipe("moco")
    same = ["name=other", "data.store=/elsewhere", "train.workers=9", "probe.store=x", "summary=s"]
    assert load_recipe("moco", same).hash == base.hash
    for override in ("seed=1", "optimizer.lr=0.1", "algorithm.temperature=0.2", "data.bands=rgb"):
        assert load_recipe("moco", [override]).hash != base.hash


@pytest.mark.parametrize("name", list_recipes())
def test_schema_accepts_what_is_valid(name: str) -> None:
    document = load_recipe(name).model_dump(mode="json")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    document["algorithm"]["tau"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_schema_accepts_the_files_as_they_are_written(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    jsonschema.validate(document, json_schema())
    document["algorithm"] = {**document.get("algorithm", {}), "tau": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "x"}, json_schema())  # extends nothing, and says nothing


def test_order_of_overrides_does_not_matter() -> None:
    size, name = "views.size=64", "views.name=standard"
    for overrides in ([size, name], [name, size]):
        views = load_recipe("moco", overrides).views
        assert (views.name, views.options()["size"]) == ("standard", 64)
    alpha, name = "regularizer.alpha=0.9", "regularizer.name=geobasic"
    assert load_recipe("moco_georank", [alpha, name]).regularizer.alpha == 0.9


def test_another_component_keeps_what_fits_it() -> None:
    views = load_recipe("dino", ["views.name=standard"]).views.options()
    assert (views["local_views"], views["scale"]) == (4, (0.8, 1.0))
    assert load_recipe("simclr", ["algorithm.name=moco"]).algorithm.options()["temperature"] == 0.04


def test_a_bare_name_is_a_component() -> None:
    assert load_recipe("moco", ["regularizer=geobasic"]).regularizer.name == "geobasic"


def test_to_yaml_is_plain_yaml() -> None:
    assert yaml.safe_load(load_recipe("moco").to_yaml())["algorithm"]["name"] == "moco"


@pytest.mark.parametrize("override", ["backbone.name=resnet81", "backbone.name=resnet18.a1_in1k"])
def test_the_command_shows_no_recipe_that_training_refuses(
    override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recipes", "show", "moco_georank", "--set", "algorithm.queue_size=64") == 0
    capsys.readouterr()
    assert run("recipes", "show", "moco_georank", "--set", override) == 2
    shown = capsys.readouterr()
    assert "backbone.name" in shown.err and shown.out == ""

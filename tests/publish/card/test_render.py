"""Cards state what is known, and no score that results.csv does not hold."""

from __future__ import annotations

import ast
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard

from georank_cli.main import main
from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.bands import S2_12
from georank_zoo.data.store.patch_store import PatchStore
from georank_zoo.eval.results import table as results
from georank_zoo.losses import REGULARIZERS
from georank_zoo.models.encoder import create_model
from georank_zoo.models.footprint import Footprint, read_footprint
from georank_zoo.publish.card import facts as card_facts
from georank_zoo.publish.card import folder_card, gather, recipe_cards
from georank_zoo.publish.card.gather import folder_facts
from georank_zoo.publish.card.render import recipes_with_cards
from georank_zoo.publish.catalog import Catalog
from georank_zoo.training.batches import PlaceBatches
from georank_zoo.training.recipe import list_recipes, load_recipe, parse_recipe, recipes_by_model
from georank_zoo.utils.errors import ModelError, RecipeError
from georank_zoo.utils.files import sha256_of
from tests.support.card_parts import (
    NOT_EVALUATED,
    TINY,
    block,
    python_blocks,
    render_folder,
    render_recipe,
    row,
    sha256,
    table_scores,
    write_rows,
)
from tests.support.hub import Hub
from tests.support.hub_client import run_against
from tests.support.models import edit_config, make_export
from tests.support.zoo_parts import make_entry

ROOT = Path(__file__).parents[3]
NONE, TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"  # as cards write them


def test_the_run_notes_what_a_card_needs(card_run: Path, world_store: PatchStore) -> None:
    config = json.loads((card_run / "export" / "config.json").read_text())["georank"]
    plan = load_recipe("moco_georank", TINY, data=str(world_store.path))
    assert config["recipe_hash"] == plan.hash
    assert parse_recipe(json.dumps(config["recipe"]), where="config").hash == plan.hash
    assert (config["step"], config["processes"]) == (2, 1)
    assert config["seconds"] > 0 and config["device"].startswith("cpu")
    assert config["store"]["reader"] == "synthetic" and config["store"]["places_used"] == 40
    days = world_store.time.astype("datetime64[s]").astype("datetime64[D]")
    assert config["store"]["period"] == [str(days.min()), str(days.max())]
    # The places of the subset, not those of the store.
    batches = PlaceBatches(
        world_store, bands=S2_12, batch_size=8, seed=0, temporal=True, views=2, draws=1, subset=40
    )
    footprint = read_footprint(card_run / "export")
    assert footprint is not None and footprint.places.sum() == 40
    np.testing.assert_array_equal(footprint.corners, Footprint.of(batches.latlon).corners)
    # Nothing of this machine's folders is published.
    text = (card_run / "export" / "config.json").read_text() + render_folder(
        card_run, repo="org/georank-moco-r18"
    )
    assert str(world_store.path.parent) not in text and "/tmp" not in text


def test_code_loads_the_folder(card_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(card_run.parents[1])
    blocks = python_blocks(render_folder("runs/georank-moco-r18"))
    assert len(blocks) == 3 and all("runs/georank-moco-r18/export" in block for block in blocks)
    for text in blocks:
        names: dict[str, object] = {}
        torch.manual_seed(0)
        exec(text, names)
        if "maps" in names:
            shapes = [tuple(found.shape[1:3]) for found in names["maps"]]
            assert shapes == [(64, 16), (64, 8), (128, 4), (256, 2), (512, 1)]
            continue
        # Both ways give what the encoder gives for these digital numbers.
        bands = names.get("bands", S2_12)
        encoder = create_model(card_run, bands=bands, unit="dn")
        with torch.inference_mode():
            expected = encoder(names["dn"])
        assert names["features"].shape == (8, 512)
        torch.testing.assert_close(names["features"], expected)


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_efficientnet"])
def test_code_fits_the_architecture(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_export(tmp_path / "m", architecture=architecture, bands=("B11", "B12"), mean=(0.2, 0.1),
                std=(0.1, 0.1), network=timm.create_model(architecture, in_chans=2, num_classes=0,
                **({"img_size": 32} if "vit" in architecture else {})))  # fmt: skip
    monkeypatch.chdir(tmp_path)
    text = render_folder("m")
    blocks = python_blocks(text)
    assert len(blocks) == 3
    for code in blocks:
        names: dict[str, object] = {}
        exec(code, names)
        if "maps" in names:
            channels = [found.shape[1] for found in names["maps"]]
            assert f"channels {', '.join(map(str, channels))}\n" in code
        else:
            width = names["features"].shape[1]
            assert f"to {width} features" in text and f"# (8, {width})" in code


def test_code_loads_from_the_hub(card_run: Path, tmp_path: Path) -> None:
    text = render_folder(card_run, repo="org/georank-moco-r18", revision="v1")
    code = "\n".join(python_blocks(text))
    assert code.count("org/georank-moco-r18@v1") == 3 and "local-dir" not in code
    assert "Pin a tag" not in text
    assert "Pin a tag" in render_folder(card_run, repo="org/georank-moco-r18")
    with Hub() as hub:
        repo = hub.add("org/georank-moco-r18", card_run / "export")
        repo.tags["v1"] = repo.head.oid
        result = f"{code}\nimport json\nprint(json.dumps([*features.shape, len(maps)]))"
        assert run_against(hub, tmp_path, result) == [8, 512, 5]


def test_a_recipe_card_s_code_loads_what_was_trained(
    card_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = render_recipe("moco_georank")
    (command,) = re.findall(r"```bash\n(.*?)```", text, re.S)
    assert command.split()[:3] == ["georank", "train", "moco_georank"]
    assert load_recipe(command.split()[2]).name == card_run.name  # so it goes to runs/<this name>
    monkeypatch.chdir(card_run.parents[1])
    for code in python_blocks(text):
        exec(code.replace("120, 120", "32, 32"), {})


def test_facts_are_those_of_the_files(card_folder: Path, card_run: Path) -> None:
    text = render_folder(card_folder)
    config = json.loads((card_folder / "config.json").read_text())
    for index, (band, mean) in enumerate(zip(S2_12, config["pretrained_cfg"]["mean"], strict=True)):
        assert re.search(rf"\| {index} \| {band} [a-z1-3 -]+\| \d+ \| \d\d \| {mean:.4f} \|", text)
    assert "| 11 | B12 short-wave infrared 2 | 2190 | 20 |" in text
    for line in (
        "11.2 M parameters", f"`B {TIMES} 12 {TIMES} 32 {TIMES} 32`", "| Places | 20,000 |",
        f"`{sha256(card_folder)}`", f"`{sha256_of(card_folder / 'config.json')}`",
        f"`{config['georank']['recipe_hash']}`", "| Steps taken | 2 |", f"1 {TIMES} cpu",
        "| `views.size` | 32 | 120 |", "| `train.steps` | 2 | none |", "Level-1C, top of",
        f"loss = 0.5 {TIMES} algorithm + 0.5 {TIMES} regularizer",
        "@inproceedings{burgert2026georank",
        "chen2020mocov2", "![Map of the pretraining places](footprint.png)",
    ):  # fmt: skip
        assert line in text, line
    assert "| `train.workers`" not in text  # it decides nothing
    (resolved,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert parse_recipe(resolved, where="card").hash == config["georank"]["recipe_hash"]
    # What the paper reached is no score of this model.
    assert "85.09" not in text
    assert "Trained on a generated world" not in text
    assert "Trained on a generated world" in render_folder(card_run)


def test_small_data_is_said_to_be_small(card_folder: Path) -> None:
    assert "**Small data**" not in render_folder(card_folder)
    edit_config(card_folder, georank__store__places_used=24)
    assert "* **Small data**: 24 places." in render_folder(card_folder)


@pytest.mark.parametrize(
    ("key", "number"),
    [
        ("store__patches", 0), ("store__patches", -3), ("store__places", 1.5),
        ("store__places_used", 20_001), ("store__period", ["2020-02-30", "2020-03-01"]),
        ("store__period", ["2020-03-01", "2020-02-01"]), ("seconds", float("nan")),
        ("seconds", -1), ("seconds", float("inf")), ("step", 0), ("step", -7), ("processes", 0),
    ],
)  # fmt: skip
def test_impossible_facts_are_refused(card_folder: Path, key: str, number: object) -> None:
    edit_config(card_folder, **{f"georank__{key}": number})
    with pytest.raises(ModelError, match=r"config\.json"):
        render_folder(card_folder)


def test_texts_of_others_stay_text(card_folder: Path) -> None:
    edit_config(
        card_folder, georank__store__source="a | b\n\n## Evaluation\n<script>x</script> [y](z)",
        georank__device="`|`",
    )  # fmt: skip
    text = render_folder(card_folder)
    assert "<script>" not in text and "[y](z)" not in text
    assert text.count("\n## Evaluation\n") == 1
    (line,) = (line for line in text.splitlines() if line.startswith("| Source"))
    assert line.count("|") == 3


def test_a_recipe_s_text_cannot_leave_its_block(card_folder: Path) -> None:
    config = json.loads((card_folder / "config.json").read_text())["georank"]
    summary = "fine\n```\n\n<img src=x>\n\n````\n\u202eevil"
    edit_config(card_folder, georank__recipe={**config["recipe"], "summary": summary})
    text = render_folder(card_folder)
    (found,) = re.findall(r"^(`{3,})yaml\n(.*?)^ {0,3}\1`*$", text, re.M | re.S)
    assert yaml.safe_load(found[1])["summary"] == summary
    assert "<img" not in text.replace(found[1], "") and "\u202e" not in text


@pytest.mark.parametrize(
    ("key", "value"),
    [("hash", "`<b>"), ("period", ["2020-01-01", "<b>\n# x"]), ("hash", "abc\n# x")],
)
def test_what_is_no_hash_and_no_day_is_refused(card_folder: Path, key: str, value: object) -> None:
    edit_config(card_folder, **{f"georank__store__{key}": value})
    with pytest.raises(ModelError, match=rf"georank\.store\.{key}.*should match"):
        render_folder(card_folder)


def test_a_hostile_hash_of_the_recipe_is_none(card_folder: Path) -> None:
    edit_config(card_folder, georank__recipe_hash="`|\n\n<script>x</script>")
    assert folder_facts(card_folder).recipe_hash == ""
    assert "<script" not in render_folder(card_folder)


def test_rows_and_folders_of_others_stay_text(card_folder: Path) -> None:
    edit_config(card_folder, georank__name=None)
    folder = card_folder.rename(card_folder.with_name('<img src=y> "); exit(1)#'))
    evil = "`x` <img src=y>\n# z|"
    own = row("own", sha256(folder), protocol=evil, split=evil, metric=evil, task=evil)
    twin = replace(own, model=evil, recipe=evil, model_hash="`<img src=z>`")
    table = write_rows(folder.parent / "results.csv", [own, twin])
    text = render_folder(folder, results=table, baseline=evil)
    markdown = text.partition("\n---\n")[2]
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.S)
    assert "<img" not in prose and "\n# z" not in markdown
    names = [
        node.value for code in python_blocks(text) for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and "exit(1)" in str(node.value)
    ]  # fmt: skip
    assert len(names) == 3, "the folder's name is a text in each of the programs"


def test_a_folder_that_tells_little_has_a_card(tmp_path: Path) -> None:
    bare = make_export(tmp_path / "model", architecture="resnet18", georank={})
    text = render_folder(bare)
    assert text.count("Not recorded in this folder") == 2
    assert "# model\n" in text and "footprint" not in text
    assert folder_card(bare).write().read_text() == text
    assert not (bare / "footprint.png").exists()
    edit_config(bare, georank__store={"source": "x", "patches": "many"})
    with pytest.raises(ModelError, match=r"georank\.store\.license: .* Export the model again"):
        render_folder(bare)


def test_methods_cover_the_registries() -> None:
    found = card_facts.methods()
    assert set(found["algorithms"]) == set(ALGORITHMS)
    assert set(found["regularizers"]) == set(REGULARIZERS)
    for group in found.values():
        for method in group.values():
            assert method.bibtex.count("{") == method.bibtex.count("}")


@pytest.mark.parametrize("name", recipes_with_cards())
def test_the_card_in_model_cards_is_up_to_date(name: str) -> None:
    # To renew: georank card --recipe all --out model_cards
    plan = load_recipe(name)
    text = (ROOT / "model_cards" / f"{plan.name}.md").read_text()
    assert text == render_recipe(name)
    assert "**No weights have been published" in text
    assert NOT_EVALUATED in text and not table_scores(text)
    published = re.findall(r"\d\d\.\d\d", plan.mirrors)
    assert not [number for number in published if number in text]


def test_studies_have_no_card_and_no_other_card_is_left_over() -> None:
    assert set(list_recipes()) - set(recipes_with_cards()) == {
        path.stem for path in (ROOT / "recipes").glob("study_*.yaml")
    }
    cards_there = {path.stem for path in (ROOT / "model_cards").glob("*.md")}
    assert cards_there == {load_recipe(name).name for name in recipes_with_cards()}


def test_the_shipped_recipe_of_a_model_is_found_by_its_name() -> None:
    assert recipes_by_model() == {load_recipe(name).name: name for name in list_recipes()}


def count_calls(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[object]:
    """First arguments of the calls to a function of a module, from now on."""
    calls: list[object] = []
    function = getattr(module, name)

    def counted(*arguments: object, **options: object) -> object:
        calls.append(arguments[0])
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_a_card_does_its_work_once(
    card_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = count_calls(monkeypatch, gather, "load_recipe")
    hashed = count_calls(monkeypatch, gather, "sha256_of")
    built = count_calls(monkeypatch, gather, "skeleton")
    extractors = count_calls(monkeypatch, timm, "create_model")
    folder_card(card_run).write(tmp_path)
    assert loads == ["moco_georank"]
    assert [path.name for path in hashed] == ["model.safetensors", "config.json"]
    # The network, and timm's feature extractor around another, which only timm can build.
    assert len(built) == 1 and len(extractors) == 2

    gather._recipe_network.cache_clear()
    for calls in (loads, hashed, built, extractors):
        calls.clear()
    recipe_cards(["all"])
    assert loads == recipes_with_cards() and not hashed and not built
    assert len(extractors) == 2, "13 recipes share one architecture"


def test_a_recipe_s_card_after_publication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = make_entry(weights="9" * 64, tag="v1.0", trained_on="SSL4EO-S12, 250,000 places")
    package = Path(shutil.copytree(ROOT / "model_cards", tmp_path / "cards_of_test"))
    (package / "models.json").write_text(Catalog(models={"georank-moco-r18": entry}).to_json())
    write_rows(package / "results.csv", block("9" * 64))
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("facts", "render"):
        monkeypatch.setattr(f"georank_zoo.publish.card.{module}.CARDS_PACKAGE", "cards_of_test")
    text = render_recipe("moco_georank", license="cc-by-4.0")
    assert "No weights have been published" not in text
    assert '"hf-hub:org/georank-moco-r18@v1.0", pretrained=True' in text
    assert "SSL4EO-S12, 250,000 places" in text and "| License of the weights | cc-by-4.0 |" in text
    assert len(table_scores(text)) == 8
    assert len(ModelCard(text).data.eval_results) == 2
    assert "No weights have been published" in render_recipe("moco")


def cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return int(exit_.value.code or 0), shown.out, shown.err


def test_the_command(
    card_run: Path, world_store: PatchStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.csv"
    code, out, err = cli(
        capsys, "eval", card_run, "--task", "synthetic", "--data", world_store.path,
        "--split", "loo",
        "--results", path,
    )  # fmt: skip
    assert code == 0, err
    code, out, err = cli(capsys, "card", card_run, "--results", path)
    assert (code, out) == (0, f"Wrote {card_run / 'export' / 'README.md'}.\n"), err
    text = (card_run / "export" / "README.md").read_text()
    assert sorted(table_scores(text)) == sorted(known.percent for known in results.read_rows(path))
    assert "check of the machinery" in text
    assert (card_run / "export" / "footprint.png").read_bytes().startswith(b"\x89PNG")
    # The folder is still a model, and an export may replace it.
    assert create_model(card_run).num_features == 512
    code, out, err = cli(capsys, "export", card_run, "--overwrite")
    assert code == 0, err
    assert not (card_run / "export" / "README.md").exists()

    code, out, err = cli(capsys, "card", card_run, "--out", tmp_path / "elsewhere")
    assert code == 0 and "has not been evaluated: no --results were given" in out
    written = sorted(file.name for file in (tmp_path / "elsewhere").iterdir())
    assert written == ["README.md", "footprint.png"]
    assert not (card_run / "export" / "README.md").exists()


def test_the_command_for_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli(capsys, "card", "--recipe", "moco")
    assert (code, out) == (0, render_recipe("moco"))
    code, out, _ = cli(capsys, "card", "--recipe", "moco", "--recipe", "byol", "--out", tmp_path)
    assert (code, out) == (0, f"Wrote 2 cards to {tmp_path}.\n")
    assert {file.name for file in tmp_path.iterdir()} == {"moco-r18.md", "byol-r18.md"}
    code, out, _ = cli(capsys, "card", "--recipe", "all", "--out", tmp_path)
    assert (code, out) == (0, f"Wrote 13 cards to {tmp_path}.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Give a model folder, or --recipe"),
        (["x", "--recipe", "moco"], 2, "Give a model folder, or --recipe"),
        (["nowhere"], 1, "No folder nowhere"),
        (["--recipe", "mocov2"], 2, "Choose from: byol"),
        (["--recipe", "moco", "--repo", "org/x"], 2, "belong to a model"),
        (["RUN", "--repo", "x"], 2, "'x' is not a repository on the Hub"),
        (["RUN", "--revision", "v1"], 2, "pass --repo org/name"),
        (["RUN", "--license", "mine"], 2, "Unknown license 'mine'"),
        (["RUN", "--results", "nowhere.csv"], 1, "nowhere.csv"),
    ],
)
def test_a_careless_command_hears_what_is_wrong(
    card_run: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    given = [str(card_run) if argument == "RUN" else argument for argument in arguments]
    found, _, err = cli(capsys, "card", *given)
    assert (found, message in err) == (code, True), err
    assert not (card_run / "export" / "README.md").exists()


def test_recipes_of_one_s_own_have_a_card_once_trained() -> None:
    with pytest.raises(RecipeError, match="georank card <run folder>"):
        render_recipe("my_recipe")


def test_facts_name_the_shipped_recipe(card_folder: Path) -> None:
    facts = folder_facts(card_folder)
    assert facts.shipped == "moco_georank"
    assert {change.key for change in facts.changes} == {
        override.partition("=")[0] for override in TINY if "workers" not in override
    } | {"train.epochs"}

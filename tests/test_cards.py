"""Cards state what is known, and no score that results.csv does not hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from huggingface_hub import ModelCard

from georank_cli.main import main
from georank_zoo import cards, recipe, trainer
from georank_zoo.algorithms import ALGORITHMS
from georank_zoo.bands import S2_12
from georank_zoo.cards import facts as card_facts
from georank_zoo.cards.evaluation import check_scores, evaluation_of, score
from georank_zoo.cards.gather import folder_facts
from georank_zoo.cards.metadata import LICENCES, check_front_matter
from georank_zoo.data.footprint import Footprint, read_footprint
from georank_zoo.data.loader import PlaceBatches
from georank_zoo.data.store import PatchStore, sha256_of
from georank_zoo.errors import GeorankError, ModelError, RecipeError, UsageError
from georank_zoo.eval import results
from georank_zoo.losses import REGULARIZERS
from georank_zoo.zoo import create_model
from tests.card_rows import TWIN_HASH, block, row
from tests.helpers import edit_config, make_export
from tests.hub_server import Hub

ROOT = Path(__file__).parents[1]
NONE, TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"  # as cards write them
TINY = [
    "views.size=32", "train.batch_size=8", "train.steps=2", "train.workers=0",
    "train.precision=fp32", "schedule.warmup_epochs=0", "data.places=40",
    "algorithm.hidden_dim=16", "algorithm.output_dim=8", "algorithm.queue_size=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(world_store: PatchStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the shipped recipe, as small as it goes, on the generated world."""
    plan = recipe.load("moco_georank", TINY, {"data.store": str(world_store.path)})
    folder = tmp_path_factory.mktemp("cards") / "runs" / "georank-moco-r18"
    return trainer.train(plan, folder).path


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """A copy of its export, of data that is neither generated nor small."""
    copy = Path(shutil.copytree(run / "export", tmp_path / "model"))
    edit_config(
        copy, georank__store__reader="eurosat", georank__store__source="EuroSAT",
        georank__store__places_used=20_000, georank__store__level="L1C",
    )  # fmt: skip
    return copy


def write_rows(path: Path, rows: list[results.Row]) -> Path:
    results.append(path, rows)
    return path


def sha256(folder: Path) -> str:
    return sha256_of(folder / "model.safetensors")


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.S)


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table_scores(text: str) -> list[str]:
    return re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", section(text, "Evaluation"))


def test_the_run_notes_what_a_card_needs(run: Path, world_store: PatchStore) -> None:
    config = json.loads((run / "export" / "config.json").read_text())["georank"]
    plan = recipe.load("moco_georank", TINY, {"data.store": str(world_store.path)})
    assert config["recipe_hash"] == plan.hash
    assert recipe.from_text(json.dumps(config["recipe"]), where="config").hash == plan.hash
    assert (config["step"], config["processes"]) == (2, 1)
    assert config["seconds"] > 0 and config["device"].startswith("cpu")
    assert config["store"]["reader"] == "synthetic" and config["store"]["places_used"] == 40
    days = world_store.time.astype("datetime64[s]").astype("datetime64[D]")
    assert config["store"]["period"] == [str(days.min()), str(days.max())]
    # The places of the subset, not those of the store.
    batches = PlaceBatches(
        world_store, bands=S2_12, batch_size=8, seed=0, temporal=True, views=2, draws=1, subset=40
    )
    footprint = read_footprint(run / "export")
    assert footprint is not None and footprint.places.sum() == 40
    np.testing.assert_array_equal(footprint.corners, Footprint.of(batches.latlon).corners)
    # Nothing of this machine's folders is published.
    text = (run / "export" / "config.json").read_text() + cards.render_folder(
        run, repo="org/georank-moco-r18"
    )
    assert str(world_store.path.parent) not in text and "/tmp" not in text


def test_code_loads_the_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[1])
    blocks = python_blocks(cards.render_folder("runs/georank-moco-r18"))
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
        encoder = create_model(run, bands=bands, unit="dn")
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
    text = cards.render_folder("m")
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
            assert f"into {width} numbers" in text and f"# (8, {width})" in code


def test_code_loads_from_the_hub(run: Path, tmp_path: Path) -> None:
    text = cards.render_folder(run, repo="org/georank-moco-r18", revision="v1")
    code = "\n".join(python_blocks(text))
    assert code.count("org/georank-moco-r18@v1") == 3 and "local-dir" not in code
    assert "Pin a tag" not in text
    assert "Pin a tag" in cards.render_folder(run, repo="org/georank-moco-r18")
    with Hub({"org/georank-moco-r18": run / "export"}) as hub:
        environment = {
            **os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "NO_PROXY": "*",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\nprint(features.shape, len(maps))"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch.Size([8, 512]) 5"


def test_a_recipe_card_s_code_loads_what_was_trained(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = cards.render_recipe("moco_georank")
    (command,) = re.findall(r"```bash\n(.*?)```", text, re.S)
    assert command.split()[:3] == ["georank", "train", "moco_georank"]
    assert recipe.load(command.split()[2]).name == run.name  # so it goes to runs/<this name>
    monkeypatch.chdir(run.parents[1])
    for code in python_blocks(text):
        exec(code.replace("120, 120", "32, 32"), {})


def test_every_score_is_one_of_results_csv(folder: Path, tmp_path: Path) -> None:
    rows = block(sha256(folder))
    path = write_rows(tmp_path / "results.csv", rows)
    text = cards.render_folder(folder, results=path)
    # All rows are shown, and nothing else.
    assert sorted(table_scores(text)) == sorted(score(known) for known in rows)
    assert "**81.2 [80.0, 82.6]** | 79.9 [78.6, 81.2] | 68.3 [67.1, 69.7] | 61.5" in text
    header = next(line for line in text.splitlines() if line.startswith("| Task"))
    columns = ["**georank-moco-r18**", "moco-r18", "image statistics", "random resnet18"]
    assert [part.strip() for part in header.strip("|").split("|")][-4:] == columns
    for shown in ("knn (k=10, temperature=0.9)", "64", "random80-seed0", "21600 / 5400"):
        assert f"| {shown} |" in section(text, "Evaluation")
    assert "moco-r18@0123456789ab" in section(text, "Evaluation")
    assert "check of the machinery" not in text
    # The model-index, as the Hub's client reads it.
    found = {
        (result.metric_name, result.metric_value): result
        for result in ModelCard(text).data.eval_results
    }
    own = rows[:2]
    names = ["Macro accuracy", "Overall accuracy"]
    assert set(found) == {(name, known.value) for name, known in zip(names, own, strict=True)}
    result = found["Macro accuracy", own[0].value]
    assert (result.dataset_type, result.dataset_split) == ("torchgeo/eurosat", "random80-seed0")
    assert result.task_type == "image-classification" and "64 px" in result.dataset_config
    # It survives being written again.
    again = ModelCard(str(ModelCard(text))).data.eval_results
    assert {(r.metric_name, r.metric_value) for r in again} == set(found)


def test_a_changed_row_changes_the_card(folder: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "results.csv", block(sha256(folder)))
    before = cards.render_folder(folder, results=path)
    path.write_text(path.read_text().replace("0.812345", "0.912345"))
    after = cards.render_folder(folder, results=path)
    assert "**81.2 [" in before and "**81.2 [" not in after
    assert "**91.2 [" in after
    assert ModelCard(after).data.eval_results[0].metric_value == 0.912345
    path.write_text(path.read_text().replace("0.912345", "ninety"))
    with pytest.raises(GeorankError, match="row 2"):
        cards.render_folder(folder, results=path)


def test_a_score_that_no_row_holds_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = block(sha256(folder))
    path = write_rows(tmp_path / "results.csv", rows)
    text = cards.render_folder(folder, results=path)
    found = evaluation_of(
        rows, sha256=sha256(folder), name="georank-moco-r18", architecture="resnet18"
    )
    check_scores(text, found, name="georank-moco-r18")
    check_front_matter(text, found)
    with pytest.raises(GeorankError, match=r"states 81\.3, which no row"):
        check_scores(text.replace("**81.2 [", "**81.3 ["), found, name="georank-moco-r18")
    with pytest.raises(GeorankError, match=r"states \d+, which no row"):
        check_scores(text, None, name="georank-moco-r18")
    with pytest.raises(GeorankError, match=r"Macro accuracy 0\.82.*no row"):
        check_front_matter(text.replace("value: 0.812345", "value: 0.82"), found)
    with pytest.raises(GeorankError, match="does not hold the 2 scores"):
        check_front_matter(cards.render_folder(folder), found)
    # A template that states a number of its own does not render.
    template = card_facts.text_of("card.md.jinja")
    boast = template.replace("In percent,", "It reaches 99.9.\n\nIn percent,")
    assert boast != template
    monkeypatch.setattr(
        "georank_zoo.cards.render.text_of", lambda name: boast if "card" in name else ""
    )
    with pytest.raises(GeorankError, match=r"states 99\.9, which no row"):
        cards.render_folder(folder, results=path)
    boast = template.replace("{{ front_matter }}", "{{ front_matter | replace('0.81', '0.91') }}")
    assert boast != template
    with pytest.raises(GeorankError, match=r"Macro accuracy 0\.912345.*no row"):
        cards.render_folder(folder, results=path)


def test_rows_of_other_weights_are_not_its_scores(folder: Path, tmp_path: Path) -> None:
    others = write_rows(tmp_path / "results.csv", block("c" * 64))
    for text in (cards.render_folder(folder, results=others), cards.render_folder(folder)):
        assert cards.NOT_EVALUATED in text and not table_scores(text)
        assert not ModelCard(text).data.eval_results


def test_only_what_was_evaluated_alike_stands_in_a_line(folder: Path, tmp_path: Path) -> None:
    own = sha256(folder)
    rows = [
        row("georank-moco-r18 (runs/a)", own),
        row("georank-moco-r18", own, value=0.7, when="2026-11-24T00:00:00+00:00"),  # newer
        row("georank-moco-r18", own, image_size=128),
        row("moco-r18 (runs/b)", TWIN_HASH, image_size=128, value=0.71),
        row("byol-r18", "d" * 64, value=0.72),  # another model
        row("random resnet50", "none", value=0.73),  # of another architecture
        row("image statistics (input of georank-moco-r18)", "none", value=0.75),
        row("image statistics (input of byol-r18)", "none", value=0.74),
        row("moco-r18 (runs/b)", TWIN_HASH, value=0.69, bands="B02 B03"),
        row("image statistics", "none", value=0.76, store_hash="f" * 64),
        row("random resnet18", "none", value=0.77, bands="B02 B03"),
    ]
    text = cards.render_folder(folder, results=write_rows(tmp_path / "results.csv", rows))
    lines = [line for line in section(text, "Evaluation").splitlines() if "| eurosat" in line]
    assert len(lines) == 2
    assert "| 64 |" in lines[0] and "**70.0 [" in lines[0] and f"| {NONE} | 75.0 [" in lines[0]
    assert "| 128 |" in lines[1] and "| 71.0 [" in lines[1] and lines[1].endswith(f"| {NONE} |")
    assert len(table_scores(text)) == 4
    config = {result.dataset_config for result in ModelCard(text).data.eval_results}
    assert len(config) == 2


def test_finetuning_stands_beside_training_from_scratch(folder: Path, tmp_path: Path) -> None:
    common = {"protocol": "finetune", "k": None, "temperature": None}
    settings = "epochs=30 lr=0.001 backbone_lr={} precision=fp32"
    rows = [
        row("georank-moco-r18", sha256(folder), settings=f"epoch=7 {settings.format(0.0001)}"),
        row("resnet18 from scratch", "none", settings=f"epoch=9 {settings.format(0.001)}"),
        row("resnet50 from scratch", "none", settings=f"epoch=9 {settings.format(0.001)}"),
    ]
    rows = [replace(known, **common) for known in rows]
    text = cards.render_folder(folder, results=write_rows(tmp_path / "results.csv", rows))
    assert sorted(table_scores(text)) == sorted([score(rows[0]), score(rows[1])])
    assert "resnet18 from scratch" in text and "backbone_lr=0.0001" in text


def test_the_baseline_is_one_model_or_named(folder: Path, tmp_path: Path) -> None:
    rows = [*block(sha256(folder)), row("moco-r18 (again)", "a" * 64, value=0.79)]
    rows.append(row("byol-r18", "d" * 64, value=0.72))
    path = write_rows(tmp_path / "results.csv", rows)
    with pytest.raises(UsageError, match=r"2 models called moco-r18.*--baseline aaaaaaaaaaaa"):
        cards.render_folder(folder, results=path)
    text = cards.render_folder(folder, results=path, baseline=TWIN_HASH[:12])
    assert "79.9 [" in text and "79.0 [" not in text
    assert "72.0 [" in cards.render_folder(folder, results=path, baseline="byol-r18")
    with pytest.raises(UsageError, match="No model 'dino-r18' was evaluated in the way of"):
        cards.render_folder(folder, results=path, baseline="dino-r18")


@pytest.mark.parametrize(
    ("changes", "whole"),
    [({"n_test": 202}, True), ({"task": "synthetic"}, True), ({"task": "folder"}, False)],
)
def test_what_checks_the_machinery_is_no_benchmark(
    folder: Path, tmp_path: Path, changes: dict[str, object], whole: bool
) -> None:
    path = write_rows(tmp_path / "results.csv", block(sha256(folder), **changes))
    text = cards.render_folder(folder, results=path)
    assert ("**This is a check of the machinery and no benchmark**" in text) == whole
    # A leaderboard has no room for such a sentence, and none for data that nobody else has.
    assert ModelCard(text).data.eval_results is None
    assert len(table_scores(text)) == 8
    results.append(path, block(sha256(folder)))
    mixed = cards.render_folder(folder, results=path)
    marked = [line for line in mixed.splitlines() if line.startswith(f"| {rows_task(changes)} †")]
    assert len(marked) == (2 if whole else 0)
    assert ("Lines with † are checks of the machinery" in mixed) == whole
    assert len(ModelCard(mixed).data.eval_results) == 2


def rows_task(changes: dict[str, object]) -> object:
    return changes.get("task", "eurosat")


def test_front_matter(folder: Path) -> None:
    data = ModelCard(cards.render_folder(folder, licence="CC-BY-4.0")).data
    assert (data.license, data.library_name) == ("cc-by-4.0", "timm")
    assert data.pipeline_tag == "image-feature-extraction"
    assert data.datasets == ["torchgeo/eurosat"]
    assert {"sentinel-2", "moco", "georank", "resnet18"} <= set(data.tags)
    with pytest.raises(UsageError, match=r"Unknown licence 'cc-by-4'. Did you mean 'cc-by-4.0'"):
        cards.render_folder(folder, licence="cc-by-4")
    text = cards.render_folder(folder)
    for right, wrong in (
        ("license: apache-2.0", "license: nonsense"),
        ("library_name: timm", "library_name: tim"),
        ("pipeline_tag: image-feature-extraction", "pipeline_tag: nope"),
        ("license: apache-2.0", "license: [apache-2.0"),
    ):
        assert right in text
        with pytest.raises(GeorankError, match="front matter"):
            check_front_matter(text.replace(right, wrong), None)
    assert len(set(LICENCES)) == len(LICENCES)


def test_facts_are_those_of_the_files(folder: Path, run: Path) -> None:
    text = cards.render_folder(folder)
    config = json.loads((folder / "config.json").read_text())
    for index, (band, mean) in enumerate(zip(S2_12, config["pretrained_cfg"]["mean"], strict=True)):
        assert re.search(rf"\| {index} \| {band} [a-z1-3 -]+\| \d+ \| \d\d \| {mean:.4f} \|", text)
    assert "| 11 | B12 short-wave infrared 2 | 2190 | 20 |" in text
    for line in (
        "11.2 M parameters", f"`B {TIMES} 12 {TIMES} 32 {TIMES} 32`", "| Places | 20,000 of 96 |",
        f"`{sha256(folder)}`", f"`{sha256_of(folder / 'config.json')}`",
        f"`{config['georank']['recipe_hash']}`", "| Steps taken | 2 |", f"1 {TIMES} cpu",
        "| `views.size` | 32 | 120 |", "| `train.steps` | 2 | none |", "Level-1C, top of",
        f"loss = 0.5 {TIMES} algorithm + 0.5 {TIMES} regularizer",
        "@inproceedings{burgert2026georank",
        "chen2020mocov2", "![Map of the pretraining places](footprint.png)",
    ):  # fmt: skip
        assert line in text, line
    assert "| `train.workers`" not in text  # it decides nothing
    (resolved,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert recipe.from_text(resolved, where="card").hash == config["georank"]["recipe_hash"]
    # What the paper reached is no score of this model.
    assert "85.09" not in text
    assert "Trained on a generated world" not in text
    assert "Trained on a generated world" in cards.render_folder(run)


def test_small_data_is_said_to_be_small(folder: Path) -> None:
    assert "**Small data**" not in cards.render_folder(folder)
    edit_config(folder, georank__store__places_used=24)
    assert "* **Small data**: 24 places." in cards.render_folder(folder)


def test_texts_of_others_stay_text(folder: Path) -> None:
    edit_config(
        folder, georank__store__source="a | b\n\n## Evaluation\n<script>x</script> [y](z)",
        georank__device="`|`",
    )  # fmt: skip
    text = cards.render_folder(folder)
    assert "<script>" not in text and "[y](z)" not in text
    assert text.count("\n## Evaluation\n") == 1
    (line,) = (line for line in text.splitlines() if line.startswith("| Source"))
    assert line.count("|") == 3


def test_a_folder_that_tells_little_has_a_card(tmp_path: Path) -> None:
    bare = make_export(tmp_path / "model", architecture="resnet18", georank={})
    text = cards.render_folder(bare)
    assert text.count("Not recorded in this folder") == 2
    assert "# model\n" in text and "footprint" not in text
    assert cards.write_folder(bare).read_text() == text
    assert not (bare / "footprint.png").exists()
    edit_config(bare, georank__store={"source": "x", "patches": "many"})
    with pytest.raises(ModelError, match=r"georank\.store\.licence: .* Export the model again"):
        cards.render_folder(bare)


def test_methods_cover_the_registries() -> None:
    found = card_facts.methods()
    assert set(found["algorithms"]) == set(ALGORITHMS)
    assert set(found["regularizers"]) == set(REGULARIZERS)
    for group in found.values():
        for method in group.values():
            assert method.bibtex.count("{") == method.bibtex.count("}")


@pytest.mark.parametrize("name", recipe.names())
def test_the_card_in_model_cards_is_up_to_date(name: str) -> None:
    # To renew: georank card --recipe all --out model_cards
    plan = recipe.load(name)
    text = (ROOT / "model_cards" / f"{plan.name}.md").read_text()
    assert text == cards.render_recipe(name)
    assert "**No weights have been published" in text
    assert cards.NOT_EVALUATED in text and not table_scores(text)
    published = re.findall(r"\d\d\.\d\d", plan.mirrors)
    assert not [number for number in published if number in text]


def test_no_card_is_left_over() -> None:
    cards_there = {path.stem for path in (ROOT / "model_cards").glob("*.md")}
    assert cards_there == {recipe.load(name).name for name in recipe.names()}


def test_a_recipe_s_card_after_publication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {
        "repo": "org/georank-moco-r18", "revision": "v1.0", "sha256": "9" * 64,
        "trained_on": "SSL4EO-S12, 250,000 places",
    }  # fmt: skip
    package = Path(shutil.copytree(ROOT / "model_cards", tmp_path / "cards_of_test"))
    (package / "published.yaml").write_text(yaml.safe_dump({"georank-moco-r18": entry}))
    write_rows(package / "results.csv", block("9" * 64))
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("facts", "render"):
        monkeypatch.setattr(f"georank_zoo.cards.{module}.PACKAGE", "cards_of_test")
    text = cards.render_recipe("moco_georank", licence="cc-by-4.0")
    assert "No weights have been published" not in text
    assert '"hf-hub:org/georank-moco-r18@v1.0", pretrained=True' in text
    assert "SSL4EO-S12, 250,000 places" in text and "| Licence of the weights | cc-by-4.0 |" in text
    assert len(table_scores(text)) == 8
    assert len(ModelCard(text).data.eval_results) == 2
    assert "No weights have been published" in cards.render_recipe("moco")


def cli(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return int(exit_.value.code or 0), shown.out, shown.err


def test_the_command(
    run: Path, world_store: PatchStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.csv"
    code, out, err = cli(
        capsys, "eval", run, "--task", "synthetic", "--data", world_store.path, "--split", "loo",
        "--results", path,
    )  # fmt: skip
    assert code == 0, err
    code, out, err = cli(capsys, "card", run, "--results", path)
    assert (code, out) == (0, f"Wrote {run / 'export' / 'README.md'}.\n"), err
    text = (run / "export" / "README.md").read_text()
    assert sorted(table_scores(text)) == sorted(score(known) for known in results.read(path))
    assert "check of the machinery" in text
    assert (run / "export" / "footprint.png").read_bytes().startswith(b"\x89PNG")
    # The folder is still a model, and an export may replace it.
    assert create_model(run).num_features == 512
    code, out, err = cli(capsys, "export", run, "--overwrite")
    assert code == 0, err
    assert not (run / "export" / "README.md").exists()

    code, out, err = cli(capsys, "card", run, "--out", tmp_path / "elsewhere")
    assert code == 0 and "has not been evaluated: no --results were given" in out
    written = sorted(file.name for file in (tmp_path / "elsewhere").iterdir())
    assert written == ["README.md", "footprint.png"]
    assert not (run / "export" / "README.md").exists()


def test_the_command_for_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli(capsys, "card", "--recipe", "moco")
    assert (code, out) == (0, cards.render_recipe("moco"))
    code, out, _ = cli(capsys, "card", "--recipe", "moco", "--recipe", "byol", "--out", tmp_path)
    assert (code, out) == (0, f"Wrote 2 cards to {tmp_path}.\n")
    assert {file.name for file in tmp_path.iterdir()} == {"moco-r18.md", "byol-r18.md"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Give a model folder, or --recipe"),
        (["x", "--recipe", "moco"], 2, "Give a model folder, or --recipe"),
        (["nowhere"], 1, "No folder nowhere"),
        (["--recipe", "mocov2"], 2, "Choose from: byol"),
        (["--recipe", "moco", "--repo", "org/x"], 2, "belong to a model"),
        (["RUN", "--repo", "x"], 2, "'x' is no repository on the Hub"),
        (["RUN", "--revision", "v1"], 2, "say which, as org/name"),
        (["RUN", "--licence", "mine"], 2, "Unknown licence 'mine'"),
        (["RUN", "--results", "nowhere.csv"], 1, "nowhere.csv"),
    ],
)
def test_a_careless_command_hears_what_is_wrong(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    given = [str(run) if argument == "RUN" else argument for argument in arguments]
    found, _, err = cli(capsys, "card", *given)
    assert (found, message in err) == (code, True), err
    assert not (run / "export" / "README.md").exists()


def test_recipes_of_one_s_own_have_a_card_once_trained() -> None:
    with pytest.raises(RecipeError, match="georank card <run folder>"):
        cards.render_recipe("my_recipe")


def test_facts_name_the_shipped_recipe(folder: Path) -> None:
    facts = folder_facts(folder)
    assert facts.shipped == "moco_georank"
    assert {change.key for change in facts.changes} == {
        override.partition("=")[0] for override in TINY if "workers" not in override
    } | {"train.epochs"}

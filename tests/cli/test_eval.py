"""`georank eval`: what is on the screen, what is in the file, how it ends."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from georank_cli import main
from georank_cli.eval import PROTOCOL_NAMES
from georank_zoo.data.store.patch import NO_LABEL
from georank_zoo.eval.protocols.registry import MASK_PROTOCOLS, PROTOCOLS
from georank_zoo.eval.results.table import read_rows
from georank_zoo.eval.tasks import TASKS
from tests.support.models import edit_config, make_export, make_network, make_store


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    make_export(root / "georank", georank={"name": "moco_georank"})
    make_export(
        root / "runs" / "baseline" / "export", make_network(seed=1), georank={"name": "moco"}
    )
    make_export(root / "namesake", make_network(seed=2), georank={"name": "moco"})
    make_export(root / "[bold]no name", make_network(seed=3), georank={})
    names = TASKS["eurosat"].classes
    make_store(root / "eurosat", [i % 9 for i in range(45)], class_names=names)
    make_store(root / "unlabeled", [NO_LABEL] * 4)
    make_store(root / "other-bands", [0, 1] * 4, bands=("B10",))
    return root


@pytest.fixture
def georank(capsys, monkeypatch, world):
    monkeypatch.chdir(world)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["eval", *map(str, arguments)])
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def test_table_of_two_models_and_floors(georank, tmp_path):
    results = tmp_path / "results.csv"
    code, out, err = georank(
        "runs/baseline", "georank", "--task", "eurosat", "--data", "eurosat", "--size", 16,
        "--size", 32, "--k", 1, "--split", "loo", "--results", results, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    order = [
        out.index(n) for n in ("moco ", "moco_georank", "image statistics", "random test_resnet")
    ]
    assert order == sorted(order)
    assert "100.0 [100.0, 100.0]" in out  # image statistics see the classes of this store
    for fact in (
        "accuracy macro %", "accuracy overall %", "Protocol knn", "temperature 0.9", "split loo",
        "task eurosat", "45 test samples of 45 places", "bootstrap over places",
        "Not in the test set, so not in the macro averages: SeaLake", "no benchmark",
        "Added 16 rows",
    ):  # fmt: skip
        assert fact in out, fact
    rows = read_rows(results)
    assert len(rows) == 4 * 2 * 2
    assert {row.image_size for row in rows} == {16, 32}
    assert len({row.model_hash for row in rows}) == 3
    # The folder's place on this disk is nobody's business.
    assert [row.model for row in rows[:8]] == ["moco"] * 4 + ["moco_georank"] * 4
    assert {row.origin for row in rows} == {""}
    assert "runs/" not in out + results.read_text()


def test_models_of_one_name_are_shown_with_their_folders(georank, tmp_path):
    results = tmp_path / "results.csv"
    code, out, err = georank(
        "runs/baseline", "namesake", "georank", "[bold]no name", "--task", "eurosat", "--data",
        "eurosat", "--k", 1, "--no-floors", "--results", results,
    )  # fmt: skip
    assert code == 0, err
    names = ["moco (runs/baseline)", "moco (namesake)", "moco_georank", "[bold]no name"]
    assert list(dict.fromkeys(row.title for row in read_rows(results))) == names
    assert "[bold]" in out, "read as markup"


def test_several_protocols(georank, tmp_path):
    results = tmp_path / "results.csv"
    code, out, err = georank(
        "georank", "--task", "eurosat", "--data", "eurosat", "--protocol", "knn", "--protocol",
        "linear", "--protocol", "finetune", "--epochs", 1, "--k", 1, "--l2", 0.1, "--size", 16,
        "--results", results, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    titles = [out.index(f"land cover, {name} ") for name in ("knn", "linear", "finetune")]
    assert titles == sorted(titles)
    for fact in (
        "Protocol knn: neighbors by cosine similarity, temperature 0.9.", "L2 strength fixed.",
        "Protocol finetune: backbone and linear head, AdamW, 1 epochs", "test_resnet from",
        " l2 ", " epoch ", "Added 16 rows",
    ):  # fmt: skip
        assert fact in out, fact
    assert {(row.protocol, row.k, row.variant[0]) for row in read_rows(results)} == {
        ("knn", 1, "k"), ("linear", None, "l2"), ("finetune", None, "epoch"),
    }  # fmt: skip


def test_every_protocol_is_on_the_command_line():
    assert len(set(PROTOCOL_NAMES)) == len(PROTOCOL_NAMES)
    assert set(PROTOCOL_NAMES) == {*PROTOCOLS, *MASK_PROTOCOLS}


def test_defaults(georank):
    code, out, err = georank("georank", "--task", "eurosat", "--data", "eurosat", "--no-floors")
    assert code == 0, err
    assert "split random80-seed0" in out
    assert "random test_resnet" not in out
    assert " 32 " in out
    assert "k" in out


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nothing", "--task", "eurosat", "--data", "eurosat"], 1, "No folder nothing"),
        (["georank", "--task", "eurosat", "--data", "nothing"], 1, "No store at nothing"),
        (["georank", "--task", "eurosat", "--data", "unlabeled"], 1, "has no labels"),
        (["georank", "--task", "eurosat", "--data", "other-bands"], 1, "is not task 'eurosat'"),
        (["georank", "--task", "folder", "--data", "other-bands", "--k", "1"], 2, "no band in"),
        (["georank", "--task", "bigearth", "--data", "eurosat"], 2, "eurosat"),
        (["georank", "--data", "eurosat"], 2, "--task"),
        (["--task", "eurosat", "--data", "eurosat"], 2, "MODEL"),
        (["georank", "--task", "eurosat", "--data", "eurosat", "--k", "99"], 2, "k must lie"),
        (["georank", "--task", "eurosat", "--data", "eurosat", "--k", "0"], 2, "--k"),
        (["georank", "--task", "eurosat", "--data", "eurosat", "--device", "gpu"], 2, "device"),
        (["georank", "--task", "eurosat", "--data", "eurosat", "--temperature", "0"], 2, "--temp"),
        (
            ["georank", "--task", "eurosat", "--data", "eurosat", "--results", "notes.csv"],
            1,
            "is not a results file",
        ),
        (
            [
                "georank",
                "--task",
                "eurosat",
                "--data",
                "eurosat",
                "--protocol",
                "linear",
                "--split",
                "loo",
            ],
            2,
            "Choose from: random",
        ),
        (
            ["georank", "--task", "eurosat", "--data", "eurosat", "--lr", "0.1"],
            2,
            "lr is not a setting of protocol knn; it belongs to: finetune, linear-sgd",
        ),
        (
            [
                "georank",
                "--task",
                "eurosat",
                "--data",
                "eurosat",
                "--protocol",
                "finetune",
                "--precision",
                "bf16",
                "--size",
                "16",
                "--device",
                "cpu",
            ],
            2,
            "--precision fp32",
        ),
        (
            ["georank", "--task", "eurosat", "--data", "eurosat", "--protocol", "svm"],
            2,
            "'linear-sgd', 'upernet', 'finetune'",
        ),
        (["evil", "--task", "eurosat", "--data", "eurosat"], 1, "hf_hub_filename"),
    ],
)
def test_mistakes_end_with_a_sentence(georank, world, arguments, code, reason, monkeypatch):
    (world / "notes.csv").write_text("my notes\n")
    if not (world / "evil").exists():
        make_export(world / "evil")
        edit_config(world / "evil", pretrained_cfg__hf_hub_filename="../evil.bin")

    def forbidden(*_, **__):
        raise AssertionError("features were computed before everything was checked")

    monkeypatch.setattr("georank_zoo.eval.protocols.base.extract", forbidden)
    ended, out, err = georank(*arguments)
    assert ended == code, err
    assert reason in err
    assert "Traceback" not in err
    assert out == ""


def test_help_does_not_import_torch():
    code = (
        "import sys\n"
        "from georank_cli import main\n"
        "try:\n    main(['eval', '--help'])\n"
        "finally:\n    assert not {'torch', 'timm', 'numpy'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "--temperature" in done.stdout


def test_what_is_left_out_is_counted(georank, world, tmp_path):
    make_store(tmp_path / "s", [0, 1, NO_LABEL] * 20)
    code, out, err = georank(
        "georank", "--task", "folder", "--data", tmp_path / "s", "--split", "distance1500km",
        "--no-floors", "--k", 1,
    )  # fmt: skip
    assert code == 0, err
    training, test = map(int, re.search(r"(\d+) training and (\d+) test samples", out).groups())
    # 20 have no label; the others lie too near the test samples.
    assert 60 - training - test > 20, out
    assert f"Left out: {60 - training - test} patch(es) of the store without a label, or" in out

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from georank_zoo.data.store.patch_store import PatchStore
from tests.support import trees
from tests.support.command_line import run
from tests.support.models import make_store


def test_help_imports_neither_torch_nor_rasterio() -> None:
    code = (
        "import sys; from georank_cli.main import _run; "
        "assert _run(['data', 'prepare', '--help'], False) == 0; "
        "sys.exit(bool({'rasterio', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for name in ("eurosat", "oscd", "folder", "synthetic", "--max-bad"):
        assert name in done.stdout


def test_prepare_info_verify(
    folder_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    assert run("data", "prepare", "folder", folder_tree, "--out", out, "--labels", "parent") == 0
    shown = capsys.readouterr().out
    assert "12 patches of 32 px and 4 bands from 6 places" in shown
    assert f"georank train moco_georank --data {out}" in shown

    assert run("data", "info", out) == 0
    shown = capsys.readouterr().out
    for text in ("6, 2.00 acquisitions each", "2018-01-15 to 2018-07-15", "forest", "B08"):
        assert text in shown

    assert run("data", "info", out, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    store = PatchStore(out)
    assert facts["patches"] == 12
    assert facts["classes"] == {"crop": 6, "forest": 6}
    assert facts["hash"] == store.hash
    assert facts["extent"]["south"] == store.latlon[:, 0].min()
    assert facts["bands"]["B08"]["max"] == store.header.statistics["B08"].max
    assert facts["acquisitions_per_place"] == {"min": 2, "mean": 2.0, "max": 2}

    assert run("data", "verify", out) == 0
    shard = next(out.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    assert run("data", "verify", out) == 1
    assert "does not match its recorded SHA-256" in capsys.readouterr().err


def test_shares_are_named_and_merged(
    folder_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare = ("data", "prepare", "folder", folder_tree)
    shares = [tmp_path / "1", tmp_path / "2"]
    for number, share in enumerate(shares, 1):
        assert run(*prepare, "--out", share, "--share", f"{number}/2", "--jobs", 2) == 0
        assert "Next:  georank data merge SHARE... --out STORE" in capsys.readouterr().out
    assert run("data", "info", shares[1]) == 0
    assert "2/2 of the source's items" in capsys.readouterr().out

    out = tmp_path / "s"
    assert run("data", "merge", shares[1], "--out", out) == 2
    assert "missing: 1/2" in capsys.readouterr().err
    assert run("data", "merge", *shares, "--out", out) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("12 patches from 6 places, of 2 shares.\nStore: ")
    assert f"georank train moco_georank --data {out}" in shown
    assert run(*prepare, "--out", tmp_path / "whole") == 0
    assert PatchStore(tmp_path / "whole").hash == PatchStore(out).hash


def test_skipped_items_are_grouped_by_reason(
    eurosat_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in (1, 2):
        trees.truncate(eurosat_tree / "Forest" / f"Forest_{n}.tif")
    trees.write_tif(eurosat_tree / "SeaLake" / "SeaLake_1.tif", trees.noise((12, 64, 64)))
    arguments = ("data", "prepare", "eurosat", eurosat_tree, "--out", tmp_path / "s")
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert "Too much of the source is bad" in error
    assert not (tmp_path / "s").exists()
    assert run(*arguments, "--max-bad", 0.5) == 0
    shown = capsys.readouterr().out
    assert "Left out: 3; 3 of 9 sources are bad." in shown
    assert "2  unreadable or truncated" in shown
    assert "1  wrong band count" in shown
    assert "SeaLake/SeaLake_1.tif: wrong band count: 12 instead of 13" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("eurosatt", "{source}"), "Did you mean 'eurosat'"),
        (("eurosat", "{source}", "--size", "32"), "'eurosat' does not take --size"),
        (("oscd", "{source}", "--labels", "parent"), "It takes: --bands, --size"),
        (("folder", "{source}", "--unit", "percent"), "Unknown unit 'percent'"),
        (("folder", "{source}", "--bands", "B02,B99"), "Unknown band 'B99'"),
        (("folder", "/nowhere"), "There is no folder /nowhere"),
        (("folder", "{source}", "--max-bad", "5"), "0<=x<=1"),
        (("folder", "{source}", "--jobs", "0"), "x>=1"),
        (("folder", "{source}", "--share", "16/3"), "'16/3' is not a share"),
        (("folder", "{source}", "--share", "3/16"), "Divide it into 12 shares or fewer"),
    ],
)
def test_wrong_usage_exits_2(
    arguments: tuple[str, ...],
    message: str,
    folder_tree: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [a.format(source=folder_tree) for a in arguments]
    assert run("data", "prepare", *filled, "--out", tmp_path / "s") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("s*"))


def test_existing_store_is_refused_before_anything_is_generated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("data", "prepare", "synthetic", tmp_path / "w", "--places", 4, "--size", 16)
    assert run(*arguments, "--out", tmp_path / "s") == 0
    assert len(PatchStore(tmp_path / "s")) == 8
    other = ("data", "prepare", "synthetic", tmp_path / "other", "--out", tmp_path / "s")
    assert run(*other) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert run(*arguments, "--out", tmp_path / "s", "--overwrite") == 0


def test_a_store_in_place_of_its_source_is_refused_before_it_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "prepare", "synthetic", tmp_path / "w", "--out", tmp_path / "w") == 2
    assert "replace its own source" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_one_file_of_a_local_crs_does_not_stop_the_rest(
    folder_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, crs in enumerate(trees.ALIEN_CRS):
        trees.write_tif(
            folder_tree / f"alien{n}.tif", trees.noise((4, 32, 32)),
            descriptions=trees.FOLDER_BANDS, crs=crs,
        )  # fmt: skip
    arguments = ("data", "prepare", "folder", folder_tree, "--out", tmp_path / "s")
    assert run(*arguments, "--max-bad", 0.2) == 0
    assert "2  no CRS" in capsys.readouterr().out


def test_info_of_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "info", tmp_path / "none") == 1
    assert "georank data prepare" in capsys.readouterr().err


def test_names_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["Crop [wheat]", "forest [/dense]", "$x^{$", "e\x1b[31mvil", "[red]"]
    make_store(tmp_path / "s", list(range(5)), class_names=names)
    assert run("data", "info", tmp_path / "s") == 0
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in shown
    for name in (*names[:3], r"e\x1b[31mvil", "[red]"):
        assert name in shown
    PatchStore(tmp_path / "s").plot_map()._repr_png_()  # no formula
    PatchStore(tmp_path / "s").plot(2)._repr_png_()

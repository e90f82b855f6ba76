from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from georank_zoo.bands import S2_12
from georank_zoo.data.prepare import prepare_store
from georank_zoo.data.readers import open_reader
from georank_zoo.utils.errors import BadItem, UsageError
from tests.support.command_line import run
from tests.support.trees import SSL4EO_SEASONS, truncate

PLACES = ("0080717", "0060573", "0012333")


def arrays(number: int, bands: tuple[str, ...] = S2_12) -> dict[str, np.ndarray]:
    """Three places at two dates, as the README of v1.1 prints a file; DN with the offset."""
    pixels = np.random.default_rng(number).integers(1100, 5000, (3, 2, len(bands), 264, 264))
    return {
        "bands": pixels.astype(np.int16),
        "band": np.array(bands),
        "sample": np.array(PLACES),
        "center_lat": np.array([42.66, -30.64, 50.47]),
        "center_lon": np.array([125.6, 121.4, -128.3]),
        "file_id": np.array([SSL4EO_SEASONS] * 3),
        "cloud_mask": np.zeros((3, 2, 4, 4), np.uint8),
    }


def write(file: Path, content: dict[str, np.ndarray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    store = zarr.storage.ZipStore(file, mode="w")
    group = zarr.open_group(store, mode="w", zarr_format=2)
    for name, values in content.items():
        chunks = (3, 1, *values.shape[2:]) if name == "bands" else values.shape
        group.create_array(name, data=values, chunks=chunks)
    store.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number in (1, 2):
        name = f"ssl4eos12_train_seasonal_data_{number:06}.zarr.zip"
        write(tmp_path / "train" / "S2L2A" / name, arrays(number))
    return tmp_path / "train"


def first(tree: Path) -> Path:
    return min((tree / "S2L2A").iterdir())


@pytest.mark.parametrize("size", [264, 120])
def test_pixels_positions_and_seasons(tree: Path, size: int) -> None:
    reader = open_reader("ssl4eo-v1.1", tree, bands="B8A,B02", size=size)
    patches = reader.read(reader.items()[0]).patches
    content, margin = arrays(1), (264 - size) // 2
    inner = slice(margin, margin + size)
    assert len(patches) == 6
    for patch in patches:
        place, _, season = patch.key.partition("/")
        n, t = PLACES.index(place), SSL4EO_SEASONS.index(season)
        for channel, band in enumerate(("B8A", "B02")):
            expected = content["bands"][n, t, S2_12.index(band), inner, inner] - 1000
            np.testing.assert_array_equal(patch.pixels[channel], expected)
        assert (patch.lat, patch.lon) == (content["center_lat"][n], content["center_lon"][n])
        assert (
            str(np.datetime64(patch.time, "s"))[:10] == f"{season[:4]}-{season[4:6]}-{season[6:8]}"
        )


def test_store(tree: Path, tmp_path: Path) -> None:
    store = prepare_store(open_reader("ssl4eo-v1.1", tree / "S2L2A", size=32), tmp_path / "s").store
    # The two files hold the same places.
    assert (len(store), store.header.places, store.header.level) == (12, 3, "L2A")
    assert [key.partition("/")[0] for key in store.keys[:6]] == sorted(PLACES * 2)
    assert store.place[:6].tolist() == [0, 0, 1, 1, 2, 2]


def _change(**changes: Any) -> Callable[[Path], None]:
    content = arrays(1)
    kept = {**content, **changes}
    return lambda file: write(file, {k: v for k, v in kept.items() if v is not None})


def scratch(file: Path) -> None:
    """Spoils the pixels; the list of contents at the end stays whole."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "unreadable or truncated"),
        (scratch, "unreadable or truncated: Bad CRC"),
        (lambda file: file.write_bytes(b""), "unreadable or truncated"),
        (_change(center_lat=None), "missing array: center_lat"),
        (_change(band=np.array(S2_12[::-1])[:11], bands=arrays(1)["bands"][:, :, :11]),
         "missing band: B01"),
        (_change(bands=arrays(1)["bands"].astype(np.float32)), "wrong data type: float32"),
        (_change(bands=arrays(1)["bands"][..., :200]), "mixed sizes"),
        (_change(bands=np.ones_like(arrays(1)["bands"])), "values contradict unit 'dn'"),
        (_change(center_lat=np.array([42.66, -130.64, 50.47])), "position off the globe"),
    ],
)  # fmt: skip
def test_bad_files(tree: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(first(tree))
    reader = open_reader("ssl4eo-v1.1", tree)
    with pytest.raises(BadItem, match=reason):
        reader.read(reader.items()[0])
    assert len(reader.read(reader.items()[1]).patches) == 6


def test_a_place_without_data_costs_itself_only(tree: Path) -> None:
    content = arrays(1)
    content["bands"][1, 0] = 0
    write(first(tree), content)
    reader = open_reader("ssl4eo-v1.1", tree)
    reading = reader.read(reader.items()[0])
    assert len(reading.patches) == 5
    (left_out,) = reading.left_out
    assert left_out.item.endswith(f"@0060573/{SSL4EO_SEASONS[0]}")


def test_wrong_folders(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "S2L1C").mkdir()
    for folder, sentence in (
        (tree, "holds both levels"),
        (tree.parent, "holds no SSL4EO-S12 v1.1"),
        (tree / "S2L1C", "tar shards of SSL4EO-S12 v1.1 are not read"),
    ):
        assert run("data", "prepare", "ssl4eo-v1.1", folder, "--out", tree / "s") == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match="Size 119 cannot be cut"):
        open_reader("ssl4eo-v1.1", tree / "S2L2A", size=119)
    with pytest.raises(UsageError, match=r"Missing band\(s\) B10"):
        open_reader("ssl4eo-v1.1", tree / "S2L2A", bands="s2-13")


def test_zarr_is_an_extra(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'georank-zoo.zarr.'"):
        open_reader("ssl4eo-v1.1", tree)

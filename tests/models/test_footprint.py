"""Footprints: counted right, read without trust, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from georank_zoo.models.footprint import Footprint, read_footprint
from georank_zoo.publish.card.map import draw_footprint
from georank_zoo.utils.errors import ModelError

LATLON = np.array([[48.8, 2.3], [48.1, 2.9], [-0.1, -0.1], [90, 180.0], [-90, -180.0], [0, 179.9]])


def as_dict(footprint: Footprint) -> dict[tuple[int, ...], int]:
    corners = map(tuple, footprint.corners.tolist())
    return dict(zip(corners, footprint.places.tolist(), strict=True))


def test_counts_places_by_south_west_corner() -> None:
    expected = {(48, 2): 2, (-1, -1): 1, (89, 179): 1, (-90, -180): 1, (0, 179): 1}
    footprint = Footprint.of(LATLON)
    assert as_dict(footprint) == expected
    assert (abs(footprint.centers) <= (90, 180)).all()
    # Nothing finer than a cell is kept.
    assert "48.8" not in footprint.to_json()


def test_survives_its_file(tmp_path: Path) -> None:
    assert read_footprint(tmp_path) is None
    (tmp_path / "footprint.json").write_text(Footprint.of(LATLON).to_json())
    found = read_footprint(tmp_path)
    assert found is not None
    assert as_dict(found) == as_dict(Footprint.of(LATLON))


@pytest.mark.parametrize(
    "damage",
    [
        "", "[]", "{}", '{"format": "georank-footprint/2", "cell_degrees": 1}',
        json.dumps({"format": "georank-footprint/1", "cell_degrees": 1, "south_west_places": 3}),
        "[" * 100_000,
        Footprint.of(LATLON).to_json().replace("48,2,2", "148,2,2"),
        Footprint.of(LATLON).to_json().replace("48,2,2", f"{-(2**63)},2,2"),
        Footprint.of(LATLON).to_json().replace("48,2,2", "48,2,0"),
        Footprint.of(LATLON).to_json().replace("48,2,2", "48.5,2,2"),
        Footprint.of(LATLON).to_json().replace("48,2,2", '"<b>",2,2'),
        Footprint.of(LATLON).to_json()[:-9],
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / "footprint.json").write_text(damage)
    with pytest.raises(ModelError, match=r"footprint\.json is damaged"):
        read_footprint(tmp_path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "footprint.json").write_bytes(b'{"\xff": 1}')
    with pytest.raises(ModelError, match=r"footprint\.json is damaged"):
        read_footprint(tmp_path)


def ink(path: Path) -> np.ndarray:
    """Where an image is saturated: the cells; frame and words are gray."""
    pixels = imread(path)[..., :3]
    return np.argwhere(np.ptp(pixels[:, : int(pixels.shape[1] * 0.88)], axis=2) > 0.2)


@pytest.mark.parametrize("copies", [1, 4])
def test_the_map_shows_cells_where_they_lie(tmp_path: Path, copies: int) -> None:
    north_west, south_east = [[60.5, -150.5]] * copies, [[-60.5, 100.5]]
    paths = [tmp_path / name for name in ("nw.png", "se.png", "both.png")]
    for path, latlon in zip(paths, (north_west, south_east, north_west + south_east), strict=True):
        draw_footprint(path, Footprint.of(np.array(latlon)))
        assert path.stat().st_size < 200_000
    high, low, both = (ink(path) for path in paths)
    assert len(high) > 4 and len(low) > 4
    assert high[:, 0].max() < low[:, 0].min() and high[:, 1].max() < low[:, 1].min()
    assert len(both) > max(len(high), len(low))

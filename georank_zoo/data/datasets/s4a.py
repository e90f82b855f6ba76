"""Sen4AgriNet: which groups of crops grow in a patch of Catalonia or France."""

from __future__ import annotations

from georank_zoo.data.datasets.base import Published, Task

# The nine groups of FAO's Indicative Crop Classification as Sen4AgriNet codes them: the hundreds
# of a crop's code (Orion-AI-Lab/S4A, utils/encodings_en.py: 110 is wheat, 435 rapeseed).
CLASSES = (
    "Cereals", "Vegetables and melons", "Fruit and nuts", "Oilseed crops", "Root tuber crops",
    "Beverage and spice crops", "Leguminous crops", "Sugar crops", "Other crops and classes",
)  # fmt: skip
CODES_PER_GROUP = 100

# The file has a group for each of the 13 bands; these are those of 10 and 20 m.
FILE_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

FILE_SIZE = 366
SIZE = 122  # 3 x 3 patches a file
MIN_PIXELS = 25  # a label counts above this many pixels

# S4A-Models, utils/settings/mappings: the published tiles.
TILES = {
    "ES": ("31TBF", "31TCF", "31TCG", "31TDF", "31TDG"),
    "FR": ("31TCJ", "31TCL", "31TDK", "31TDM", "31UCP", "31UDR"),
}

# The first of `numpy.random.default_rng(0).permutation` of each country's tiles, in this order.
TEST_TILES = ("31TCG", "31UCP")
TILES_SPLIT = "tiles-seed0"
_TILES_HOW = f"test on the tiles {' and '.join(TEST_TILES)}, one drawn of each country (seed 0)"

_LAYOUT = (
    "<year>/<tile>/<year>_<tile>_patch_<x>_<y>.nc: groups B01 ... B12 of (time, 366, 366), 183 px "
    "at 20 m; labels and parcels (366, 366)"
)
_SPLIT_NOTE = "The paper's split is not public: its numbers and ours are of different test sets."
_NOTES = (
    f"A file is cut into 3 x 3 patches of {SIZE} px, and each date is a sample; the dates of a "
    "patch, in both years, are one place.",
    f"A crop group counts above {MIN_PIXELS} pixels. Patches without any are left out: no "
    "declaration is not the absence of a crop.",
    "Bands of 20 m are enlarged bilinearly.",
    "Sentinel-2 tiles reach 10 km into their neighbors, so the edge of a tile is in another tile "
    "too, as another place: `--split distance10km` keeps such places apart.",
)


def _task(name: str, title: str, split: str, scores: dict[str, float]) -> Task:
    return Task(
        name=name,
        title=f"Sen4AgriNet: crop groups, {title}",
        reader="s4a",
        classes=CLASSES,
        target="labels",
        split=split,
        own={} if split != TILES_SPLIT else {TILES_SPLIT: _TILES_HOW},
        source="Sen4AgriNet (Sykas et al. 2022), https://www.sen4agrinet.space.noa.gr",
        license="CC-BY-SA-4.0",
        layout=_LAYOUT,
        bands=FILE_BANDS,
        unit="DN",
        level="L1C",
        image_size=SIZE,
        published=Published(
            metric="average precision macro",
            protocol="k-NN, k 10, temperature 0.9, 10 bands",
            scores=scores,
        ),
        notes=(_SPLIT_NOTE, *_NOTES),
    )


S4A_RAND = _task(
    "s4a-rand", "random split", "random",
    {
        "MoCo v2": 65.18, "Tile2Vec": 63.10, "Ayush et al.": 65.99, "GeoBasic": 65.22,
        "GeoRank (MoCo v2)": 65.91, "SatMAE": 63.22, "ScaleMAE": 53.84, "CrossScaleMAE": 65.50,
        "SimCLR": 61.26, "GeoRank (SimCLR)": 63.02, "BYOL": 59.51, "GeoRank (BYOL)": 64.75,
        "SimSiam": 54.42, "GeoRank (SimSiam)": 64.51, "DINO": 63.72, "GeoRank (DINO)": 65.67,
    },
)  # fmt: skip
S4A_TILES = _task(
    "s4a-tiles", "whole tiles apart", TILES_SPLIT,
    {
        "MoCo v2": 35.42, "Tile2Vec": 35.20, "Ayush et al.": 34.99, "GeoBasic": 35.26,
        "GeoRank (MoCo v2)": 35.17, "SatMAE": 37.67, "ScaleMAE": 35.30, "CrossScaleMAE": 36.40,
    },
)  # fmt: skip

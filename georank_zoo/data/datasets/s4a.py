"""Sen4AgriNet: which groups of crops grow in a patch of Catalonia or France."""

from __future__ import annotations

from collections.abc import Mapping

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    DataSet,
    Download,
    HubTree,
    PublishedScores,
    ReaderFacts,
    ReaderOption,
    TaskFacts,
)

CODES_PER_GROUP = 100
FILE_SIZE = 366  # of which 3 x 3 patches are cut
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

_NOTES = (
    "The paper's split is not public: its numbers and ours are of different test sets.",
    "A file is cut into 3 x 3 patches of 122 px, and each date is a sample; the dates of a "
    "patch, in both years, are one place.",
    f"A crop group counts above {MIN_PIXELS} pixels. Patches without any are left out: no "
    "declaration is not the absence of a crop.",
    "Bands of 20 m are enlarged bilinearly.",
    "Sentinel-2 tiles reach 10 km into their neighbors, so the edge of a tile is in another tile "
    "too, as another place: `--split distance10km` keeps such places apart.",
)


def _task(
    name: str, title: str, split: str, own: Mapping[str, str], scores: Mapping[str, float]
) -> TaskFacts:
    return TaskFacts(
        name=name,
        title=f"Sen4AgriNet: crop groups, {title}",
        split=split,
        own=own,
        published=PublishedScores(
            metric="average precision macro",
            protocol="k-NN, k 10, temperature 0.9, 10 bands",
            scores=scores,
        ),
        notes=_NOTES,
    )


_TASKS = (
    _task(
        "s4a-rand", "random split", "random", {},
        {
            "MoCo v2": 65.18, "Tile2Vec": 63.10, "Ayush et al.": 65.99, "GeoBasic": 65.22,
            "GeoRank (MoCo v2)": 65.91, "SatMAE": 63.22, "ScaleMAE": 53.84, "CrossScaleMAE": 65.50,
            "SimCLR": 61.26, "GeoRank (SimCLR)": 63.02, "BYOL": 59.51, "GeoRank (BYOL)": 64.75,
            "SimSiam": 54.42, "GeoRank (SimSiam)": 64.51, "DINO": 63.72, "GeoRank (DINO)": 65.67,
        },
    ),
    _task(
        "s4a-tiles", "whole tiles apart", TILES_SPLIT, {TILES_SPLIT: _TILES_HOW},
        {
            "MoCo v2": 35.42, "Tile2Vec": 35.20, "Ayush et al.": 34.99, "GeoBasic": 35.26,
            "GeoRank (MoCo v2)": 35.17, "SatMAE": 37.67, "ScaleMAE": 35.30, "CrossScaleMAE": 36.40,
        },
    ),
)  # fmt: skip

# Commit: the Hub's page of the branch main. Size: a public survey of the repository; Catalonia in
# 2019 is 77.6 GiB.
_DOWNLOAD = Download(
    landing="https://huggingface.co/datasets/orion-ai-lab/S4A",
    size="about 281 GB",
    tree=HubTree("orion-ai-lab/S4A", "4eb44157012b9ec251767721d6bae55cf0c564e2", "data"),
    by_hand=(
        "download the netCDF files from https://github.com/Orion-AI-Lab/S4A (Google Drive, "
        "Dropbox or the Hub)",
        "put them into {out}/<year>/<tile>/, such as {out}/2019/31TBF/2019_31TBF_patch_17_11.nc",
    ),
    note="--only '2019/31TBF/*' takes one year and tile.",
)

S4A = DataSet(
    name="s4a",
    title="Sen4AgriNet, crops in Catalonia and France, netCDF time series of 366 px",
    reader=ReaderFacts(
        "georank_zoo.data.readers.s4a:Sen4AgriNet",
        (
            BANDS_OPTION,
            ReaderOption(
                "dates",
                "Most dates of a place and year of Sen4AgriNet [default: all].",
                "N",
                "number",
                at_least=1,
            ),
        ),
        "Sen4AgriNet: <year>_<tile>_patch_<x>_<y>.nc, 9 crop groups",
    ),
    source="Sen4AgriNet (Sykas et al. 2022), https://www.sen4agrinet.space.noa.gr",
    # CC-BY-SA-4.0 is what a repackaging on the Hub (isp-uv-es/sen4agrinet-taco) says of it, not
    # the authors.
    license="not stated on the data card (MIT in the authors' repository); contains modified "
    "Copernicus Sentinel data",
    license_source="the data card of the commit that is downloaded; its first version (c924188) "
    "and https://github.com/Orion-AI-Lab/S4A say MIT",
    layout="<year>/<tile>/<year>_<tile>_patch_<x>_<y>.nc: groups B01 ... B12 of (time, 366, 366), "
    "183 px at 20 m; labels and parcels (366, 366)",
    # The file has a group for each of the 13 bands; these are those of 10 and 20 m.
    bands=("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    unit="DN",
    level="L1C",
    image_size=FILE_SIZE // 3,
    target="labels",
    # The nine groups of FAO's Indicative Crop Classification as Sen4AgriNet codes them: the
    # hundreds of a crop's code (Orion-AI-Lab/S4A, utils/encodings_en.py: 110 is wheat, 435
    # rapeseed).
    classes=(
        "Cereals", "Vegetables and melons", "Fruit and nuts", "Oilseed crops", "Root tuber crops",
        "Beverage and spice crops", "Leguminous crops", "Sugar crops", "Other crops and classes",
    ),
    hub_id="orion-ai-lab/S4A",
    download=_DOWNLOAD,
    tasks=_TASKS,
)  # fmt: skip

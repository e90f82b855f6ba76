"""So2Sat LCZ42: local climate zones of 42 cities and ten more, in three published splits."""

from __future__ import annotations

from georank_zoo.data.datasets.base import Published, Task

# In this order they are the columns of `label`; wording as in torchgeo.
CLASSES = (
    "Compact high rise", "Compact mid rise", "Compact low rise", "Open high rise",
    "Open mid rise", "Open low rise", "Lightweight low rise", "Large low rise", "Sparsely built",
    "Heavy industry", "Dense trees", "Scattered trees", "Bush, scrub", "Low plants",
    "Bare rock or paved", "Bare soil or sand", "Water",
)  # fmt: skip

# The last axis of `sen2`.
FILE_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")

SIZE = 32

# Names of the published splits, by the folder that holds one. They are not called after the
# folder alone: `random` is a split that this project draws for any store.
SPLITS = {
    "random": "official-random",
    "block": "official-block",
    "culture_10": "official-culture10",
}

_HOW = {
    "random": "folder random: 80 % and 20 % of each city, drawn at random",
    "block": "folder block: 80 % and 20 % of each city, in geographic blocks",
    "culture_10": "folder culture_10: 42 cities against ten others of other cultural zones",
}

_PUBLISHED = {
    "random": {
        "MoCo v2": 93.54, "Tile2Vec": 81.67, "Ayush et al.": 94.97, "GeoBasic": 93.01,
        "GeoRank (MoCo v2)": 94.95, "SatMAE": 87.92, "ScaleMAE": 54.25, "CrossScaleMAE": 93.42,
        "SimCLR": 83.13, "GeoRank (SimCLR)": 87.40, "BYOL": 77.59, "GeoRank (BYOL)": 81.09,
        "SimSiam": 64.20, "GeoRank (SimSiam)": 91.35, "DINO": 90.54, "GeoRank (DINO)": 93.63,
    },
    "block": {
        "MoCo v2": 72.32, "Tile2Vec": 66.14, "Ayush et al.": 73.36, "GeoBasic": 71.50,
        "GeoRank (MoCo v2)": 73.46, "SatMAE": 68.90, "ScaleMAE": 47.90, "CrossScaleMAE": 71.73,
    },
}  # fmt: skip

SOURCE = "So2Sat LCZ42 v4 (Zhu et al. 2020), https://mediatum.ub.tum.de/1613658"
LICENSE = "CC-BY-4.0"


def _task(folder: str) -> Task:
    split = SPLITS[folder]
    scores = _PUBLISHED.get(folder)
    return Task(
        name=split.replace("official", "so2sat"),
        title=f"So2Sat LCZ42: local climate zones, {folder} split",
        reader="so2sat",
        classes=CLASSES,
        split=split,
        official={split: _HOW[folder]},
        source=SOURCE,
        license=LICENSE,
        layout=f"{folder}/training.h5 and testing.h5 (culture_10 also validation.h5): sen2 "
        "(N, 32, 32, 10), label (N, 17) one-hot",
        bands=FILE_BANDS,
        unit="reflectance",
        level="L1C",
        image_size=SIZE,
        published=None
        if scores is None
        else Published(
            metric="accuracy macro",
            protocol="k-NN, k 10, temperature 0.9, 10 bands",
            scores=scores,
        ),
        notes=(
            "The files hold no place: each sample counts as one, and intervals are too narrow "
            "where samples are neighbors.",
            "Reflectance is kept as the nearest DN, which moves a value by 0.00005 at most.",
        ),
    )


SO2SAT_RANDOM, SO2SAT_BLOCK, SO2SAT_CULTURE10 = (_task(folder) for folder in SPLITS)

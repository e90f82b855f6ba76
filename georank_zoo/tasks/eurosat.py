"""EuroSAT: land use and land cover, 27,000 patches over Europe."""

from __future__ import annotations

from georank_zoo.tasks.base import Published, Task

# In this order they are the labels 0 ... 9, also of a store that lacks some of them.
CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
    "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip

# B8A stands last in the files, not after B08: a list of positions is wrong from B09 on.
FILE_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A",
)  # fmt: skip

SIZE = 64

EUROSAT = Task(
    name="eurosat",
    title="EuroSAT: land use and land cover",
    reader="eurosat",
    classes=CLASSES,
    source="EuroSAT MS (Helber et al. 2019), https://github.com/phelber/EuroSAT",
    licence="MIT; contains modified Copernicus Sentinel data",
    layout="<Class>/<Class>_<N>.tif, 13 bands",
    bands=FILE_BANDS,
    unit="DN",
    level="L1C",
    image_size=SIZE,
    hub_dataset="torchgeo/eurosat",
    published=Published(
        metric="accuracy macro",
        protocol="k-NN, k 10, temperature 0.9, 10 bands, 120 px",
        scores={
            "MoCo v2": 82.42, "Tile2Vec": 73.39, "Ayush et al.": 84.34, "GeoBasic": 82.05,
            "GeoRank (MoCo v2)": 85.09, "SimCLR": 65.91, "GeoRank (SimCLR)": 75.06, "BYOL": 67.62,
            "GeoRank (BYOL)": 79.66, "SimSiam": 52.14, "GeoRank (SimSiam)": 80.10, "DINO": 81.49,
            "GeoRank (DINO)": 81.87,
        },
    ),
)  # fmt: skip

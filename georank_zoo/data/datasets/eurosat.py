"""EuroSAT: land use and land cover, 27,000 patches over Europe."""

from __future__ import annotations

from georank_zoo.data.datasets.base import Published, Task

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

# Published splits, each three lists of file names with the extension .jpg, and the MD5 of the
# lists as torchgeo publishes it (torchgeo/datasets/eurosat.py).
LISTS = {
    "public-random": {
        "train": ("eurosat-train.txt", "908f142e73d6acdf3f482c5e80d851b1"),
        "validation": ("eurosat-val.txt", "95de90f2aa998f70a3b2416bfe0687b4"),
        "test": ("eurosat-test.txt", "7ae5ab94471417b6e315763121e67c5f"),
    },
    "public-spatial": {
        "train": ("eurosat-spatial-train.txt", "7be3254be39f23ce4d4d144290c93292"),
        "validation": ("eurosat-spatial-val.txt", "acf392290050bb3df790dc8fc0ebf193"),
        "test": ("eurosat-spatial-test.txt", "5ec1733f9c16116bf0aa2d921fc613ef"),
    },
}
LISTS_SOURCE = (
    "https://huggingface.co/datasets/torchgeo/eurosat/tree/1ce6f1bfb56db63fd91b6ecc466ea67f2509774c"
)

EUROSAT = Task(
    name="eurosat",
    title="EuroSAT: land use and land cover",
    reader="eurosat",
    classes=CLASSES,
    official={
        "public-random": "60/20/20 %, Neumann et al. 2019 (arXiv 1911.06721), "
        f"eurosat-{{train,val,test}}.txt of {LISTS_SOURCE}",
        "public-spatial": "60/20/20 % by longitude, torchgeo's EuroSATSpatial, "
        f"eurosat-spatial-{{train,val,test}}.txt of {LISTS_SOURCE}",
    },
    source="EuroSAT MS (Helber et al. 2019), https://github.com/phelber/EuroSAT",
    license="MIT; contains modified Copernicus Sentinel data",
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

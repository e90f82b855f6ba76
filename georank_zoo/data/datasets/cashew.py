"""m-cashew-plant of GEO-Bench: cashew plantations in Benin, a class for each pixel."""

from __future__ import annotations

from georank_zoo.data.datasets.base import Published, Task

# geo-bench, benin_smallholder_cashews.py: in this order they are the values of a mask.
CLASSES = (
    "No data", "Well-managed plantation", "Poorly-managed plantation", "Non-plantation",
    "Residential", "Background", "Uncertain",
)  # fmt: skip

# GEO-Bench's names (geobench/dataset.py, sentinel2_13_bands) without the date that follows them.
BAND_NAMES = {
    "01 - Coastal aerosol": "B01",
    "02 - Blue": "B02",
    "03 - Green": "B03",
    "04 - Red": "B04",
    "05 - Vegetation Red Edge": "B05",
    "06 - Vegetation Red Edge": "B06",
    "07 - Vegetation Red Edge": "B07",
    "08 - NIR": "B08",
    "08A - Vegetation Red Edge": "B8A",
    "09 - Water vapour": "B09",
    "11 - SWIR": "B11",
    "12 - SWIR": "B12",
}
FILE_BANDS = tuple(BAND_NAMES.values())

SIZE = 256
SPLIT = "official"

CASHEW = Task(
    name="cashew",
    title="m-cashew-plant: cashew plantations, a class for each pixel",
    reader="cashew",
    classes=CLASSES,
    target="mask",
    split=SPLIT,
    official={SPLIT: "GEO-Bench v1.0, default_partition.json"},
    source="GEO-Bench v1.0 (Lacoste et al. 2023), https://github.com/ServiceNow/geo-bench; "
    "labels of TechnoServe, https://beta.source.coop/technoserve/cashews-benin/",
    license="CC-BY-4.0",
    layout="m-cashew-plant/<sample>.hdf5: a dataset (256, 256) for each band, called "
    "'02 - Blue_2019-11-15', and `label`; default_partition.json",
    bands=FILE_BANDS,
    unit="DN",
    level="L2A",
    image_size=SIZE,
    published=Published(
        metric="as published",
        protocol="k-NN of the layer4 features at 12 x 12",
        scores={
            "MoCo v2": 31.81, "Tile2Vec": 34.40, "Ayush et al.": 34.02, "GeoBasic": 32.26,
            "GeoRank (MoCo v2)": 34.94, "SatMAE": 19.81, "ScaleMAE": 27.42, "CrossScaleMAE": 27.65,
        },
    ),
    notes=(
        "All samples are cut from one scene of 11 x 12 km at 25 dates: samples of equal masks are "
        "one place.",
        "Chips of 256 px lie 128 px apart, so those of one part of the published split overlap "
        "those of the others: expect lower numbers on unseen land.",
    ),
)  # fmt: skip

"""m-cashew-plant of GEO-Bench: cashew plantations in Benin, a class for each pixel."""

from __future__ import annotations

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    OFFICIAL_SPLIT,
    Archive,
    DataSet,
    Download,
    PublishedScores,
    ReaderFacts,
    RemoteFile,
    TaskFacts,
    hub_url,
)

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

_REPO = "recursix/geo-bench-1.0"

# Commit: the Hub's pages of the repository (its last one that touched segmentation_v1.0). Neither
# size nor checksum is published outside the Hub, which announces both.
_ARCHIVE = RemoteFile(
    "m-cashew-plant.zip",
    hub_url(
        _REPO,
        "1e5754337032f097396db62cc15a5ff88f4618e8",
        "segmentation_v1.0/m-cashew-plant.zip",
    ),
)

_TASK = TaskFacts(
    name="cashew",
    title="m-cashew-plant: cashew plantations, a class for each pixel",
    split=OFFICIAL_SPLIT,
    official={OFFICIAL_SPLIT: "GEO-Bench v1.0, default_partition.json"},
    published=PublishedScores(
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

CASHEW = DataSet(
    name="cashew",
    title="GEO-Bench m-cashew-plant, segmentation of cashew plantations in Benin, 256 px",
    reader=ReaderFacts(
        "georank_zoo.data.readers.cashew:Cashew",
        (BANDS_OPTION,),
        "m-cashew-plant of GEO-Bench: <sample>.hdf5, a mask of 7 classes",
        slow=True,
    ),
    source="GEO-Bench v1.0 (Lacoste et al. 2023), https://github.com/ServiceNow/geo-bench; "
    "labels of TechnoServe, https://beta.source.coop/technoserve/cashews-benin/",
    # What is downloaded is GEO-Bench's edition, so its license holds; the original labels alone
    # are CC-BY-4.0 (torchgeo's table of data sets).
    license="CC-BY-SA-4.0",
    license_source="the data card of https://huggingface.co/datasets/recursix/geo-bench-1.0",
    layout="m-cashew-plant/<sample>.hdf5: a dataset (256, 256) for each band, called "
    "'02 - Blue_2019-11-15', and `label`; default_partition.json",
    bands=tuple(BAND_NAMES.values()),
    unit="DN",
    level="L2A",
    image_size=256,
    target="mask",
    # geo-bench, benin_smallholder_cashews.py: in this order they are the values of a mask.
    classes=(
        "No data", "Well-managed plantation", "Poorly-managed plantation", "Non-plantation",
        "Residential", "Background", "Uncertain",
    ),
    hub_id=_REPO,
    download=Download(
        landing="https://huggingface.co/datasets/recursix/geo-bench-1.0",
        size="not published",
        archive=Archive((_ARCHIVE,), "zip"),
        by_hand=(
            "download segmentation_v1.0/m-cashew-plant.zip from "
            "https://huggingface.co/datasets/recursix/geo-bench-1.0",
            "unpack it, so that its .hdf5 files lie in {out}",
        ),
    ),
    tasks=(_TASK,),
)  # fmt: skip

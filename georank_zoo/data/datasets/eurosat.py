"""EuroSAT: land use and land cover, 27,000 patches over Europe."""

from __future__ import annotations

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    Archive,
    Checksum,
    DataSet,
    Download,
    PublishedScores,
    ReaderFacts,
    ReaderOption,
    RemoteFile,
    TaskFacts,
    hub_url,
)

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

# Commit: torchgeo 0.8.1, datasets/eurosat.py. SHA-256 and size: the Hub's page of the commit that
# added the file, 8c86b35fe887a9db132f7d63ee359bc8e6fe78ea; the file did not change since. The same
# files are on Zenodo (record 7711810) in another zip.
_ARCHIVE = RemoteFile(
    "EuroSATallBands.zip",
    hub_url("torchgeo/eurosat", "1ce6f1bfb56db63fd91b6ecc466ea67f2509774c", "EuroSATallBands.zip"),
    2_067_725_275,
    Checksum("sha256", "751f070f9bffa2eed48b24ca2dd0b02959280c08837e8c9a5532a67ba611df59"),
)

_TASK = TaskFacts(
    name="eurosat",
    title="EuroSAT: land use and land cover",
    official={
        "public-random": "60/20/20 %, Neumann et al. 2019 (arXiv 1911.06721), "
        f"eurosat-{{train,val,test}}.txt of {LISTS_SOURCE}",
        "public-spatial": "60/20/20 % by longitude, torchgeo's EuroSATSpatial, "
        f"eurosat-spatial-{{train,val,test}}.txt of {LISTS_SOURCE}",
    },
    published=PublishedScores(
        metric="accuracy macro",
        protocol="k-NN, k 10, temperature 0.9, 10 bands, 120 px",
        scores={
            "MoCo v2": 82.42, "Tile2Vec": 73.39, "Ayush et al.": 84.34, "GeoBasic": 82.05,
            "GeoRank (MoCo v2)": 85.09, "SimCLR": 65.91, "GeoRank (SimCLR)": 75.06,
            "BYOL": 67.62, "GeoRank (BYOL)": 79.66, "SimSiam": 52.14,
            "GeoRank (SimSiam)": 80.10, "DINO": 81.49, "GeoRank (DINO)": 81.87,
        },
    ),
)  # fmt: skip

EUROSAT = DataSet(
    name="eurosat",
    title="EuroSAT MS, 27,000 labeled patches of 64 px over Europe",
    reader=ReaderFacts(
        "georank_zoo.data.readers.eurosat:EuroSat",
        (
            BANDS_OPTION,
            ReaderOption(
                "splits",
                "EuroSAT's published lists, eurosat-{train,val,test}.txt and "
                "eurosat-spatial-{train,val,test}.txt.",
                "FOLDER",
                "path",
            ),
        ),
        "EuroSAT MS: <Class>/<Class>_<N>.tif, 13 bands, 10 classes",
    ),
    source="EuroSAT MS (Helber et al. 2019), https://github.com/phelber/EuroSAT",
    license="MIT; contains modified Copernicus Sentinel data",
    layout="<Class>/<Class>_<N>.tif, 13 bands",
    # B8A stands last in the files, not after B08: a list of positions is wrong from B09 on.
    bands=(
        "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A",
    ),
    unit="DN",
    level="L1C",
    image_size=64,
    # In this order they are the labels 0 ... 9, also of a store that has only some of them.
    classes=(
        "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial",
        "Pasture", "PermanentCrop", "Residential", "River", "SeaLake",
    ),
    hub_id="torchgeo/eurosat",
    download=Download(
        landing="https://github.com/phelber/EuroSAT",
        size="2.1 GB",
        # All files of a published list of the archive's content.
        archive=Archive((_ARCHIVE,), "zip", unpacked_bytes=2_960_689_632),
        by_hand=(
            "download EuroSAT_MS.zip (MD5 091174add3c8e680a49244acf185b9f0) from "
            "https://zenodo.org/records/7711810",
            "unpack it, so that {out}/AnnualCrop/AnnualCrop_1.tif and so on are there",
        ),
    ),
    tasks=(_TASK,),
)  # fmt: skip

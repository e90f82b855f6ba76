"""OSCD: 24 cities at two dates, for pretraining on little disk space."""

from __future__ import annotations

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    SIZE_OPTION,
    Archive,
    Checksum,
    DataSet,
    Download,
    ReaderFacts,
    RemoteFile,
)

# URL and MD5: torchgeo 0.8.1, datasets/oscd.py. The size is not published.
_DOWNLOAD = Download(
    landing="https://rcdaudt.github.io/oscd/",
    size="not published",
    archive=Archive(
        (
            RemoteFile(
                "Onera Satellite Change Detection dataset - Images.zip",
                "https://partage.imt.fr/index.php/s/gKRaWgRnLMfwMGo/download",
                checksum=Checksum("md5", "c50d4a2941da64e03a47ac4dec63d915"),
            ),
        ),
        "zip",
    ),
    by_hand=(
        "download the images from https://rcdaudt.github.io/oscd/ "
        "(zip, MD5 c50d4a2941da64e03a47ac4dec63d915)",
        "unpack them, so that {out}/abudhabi/imgs_1/ and so on are there",
    ),
    note="The change labels, which are CC-BY-NC-SA, are not downloaded.",
)

OSCD = DataSet(
    name="oscd",
    title="OSCD, 24 cities at two dates",
    reader=ReaderFacts(
        "georank_zoo.data.readers.oscd:Oscd",
        (BANDS_OPTION, SIZE_OPTION),
        "OSCD: <city>/imgs_{1,2}/*_B02.tif, 24 cities at two dates",
    ),
    source="OSCD (Daudt et al. 2018), https://rcdaudt.github.io/oscd/",
    license="Copernicus Sentinel data terms",
    layout="<city>/imgs_1/*_B01.tif ... *_B12.tif at native resolution, imgs_2 for the second "
    "date; dates.txt",
    bands=(
        "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
    ),
    unit="DN",
    level="L1C",
    download=_DOWNLOAD,
)  # fmt: skip

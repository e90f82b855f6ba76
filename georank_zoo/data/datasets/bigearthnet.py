"""BigEarthNet: land cover of 1.2 km patches over ten countries of Europe, several labels each."""

from __future__ import annotations

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    OFFICIAL_SPLIT,
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

# The 19 classes in the order of their publication (BigEarthNet-S2_19-classes_models,
# label_indices.json), each with the CORINE classes of the first version that it stands for.
CORINE = {
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Industrial or commercial units": ("Industrial or commercial units",),
    "Arable land": ("Non-irrigated arable land", "Permanently irrigated land", "Rice fields"),
    "Permanent crops": (
        "Vineyards", "Fruit trees and berry plantations", "Olive groves",
        "Annual crops associated with permanent crops",
    ),
    "Pastures": ("Pastures",),
    "Complex cultivation patterns": ("Complex cultivation patterns",),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
    ),
    "Agro-forestry areas": ("Agro-forestry areas",),
    "Broad-leaved forest": ("Broad-leaved forest",),
    "Coniferous forest": ("Coniferous forest",),
    "Mixed forest": ("Mixed forest",),
    "Natural grassland and sparsely vegetated areas": (
        "Natural grassland", "Sparsely vegetated areas",
    ),
    "Moors, heathland and sclerophyllous vegetation": (
        "Moors and heathland", "Sclerophyllous vegetation",
    ),
    "Transitional woodland, shrub": ("Transitional woodland/shrub",),
    "Beaches, dunes, sands": ("Beaches, dunes, sands",),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water courses", "Water bodies"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}  # fmt: skip

# CORINE classes of the first version that no class of the 19 stands for.
DROPPED = (
    "Road and rail networks and associated land", "Port areas", "Airports",
    "Mineral extraction sites", "Dump sites", "Construction sites", "Green urban areas",
    "Sport and leisure facilities", "Bare rock", "Burnt areas", "Intertidal flats",
)  # fmt: skip

_REPO = "torchgeo/bigearthnet"
_COMMIT = "3cf3a5910a5302d449fdb8e570e5b78de24fe07f"  # torchgeo 0.8.1, BigEarthNetV2; the MD5 too

# The repository holds Zenodo's record 10891137 as .tar.gz in parts; Zenodo's own .tar.zst
# (63,251,710,377 bytes) needs another unpacker.
_DOWNLOAD = Download(
    landing="https://bigearth.net/",
    size="about 63 GB",
    files=(
        RemoteFile(
            "metadata.parquet",
            hub_url(_REPO, _COMMIT, "V2/metadata.parquet"),
            3_616_349,  # of a copy with this MD5
            Checksum("md5", "55687065e77b6d0b0f1ff604a6e7b49c"),
        ),
    ),
    archive=Archive(
        tuple(
            RemoteFile(
                name, hub_url(_REPO, _COMMIT, f"V2/{name}"), checksum=Checksum("md5", hexdigest)
            )
            for name, hexdigest in (
                ("BigEarthNet-S2.tar.gzaa", "94e8ed32065234d3ab46353d814778d1"),
                ("BigEarthNet-S2.tar.gzab", "24c223d9e36166136c13b24a27debe34"),
            )
        ),
        "tar.gz",
        keep_root=True,
        # 549,488 patches of 12 files; 25 of them take 119,334 bytes in the mean, and each file
        # half a block of 4 KiB more.
        unpacked_bytes=80_000_000_000,
    ),
    by_hand=(
        "download BigEarthNet-S2.tar.zst and metadata.parquet from "
        "https://zenodo.org/records/10891137",
        "tar --zstd -xf BigEarthNet-S2.tar.zst -C {out}, and put metadata.parquet there too",
    ),
    note="6.6 million small files: choose a file system with as many free inodes.",
)

_TASK = TaskFacts(
    name="bigearthnet",
    title="BigEarthNet: land cover, 19 labels",
    split=OFFICIAL_SPLIT,
    official={
        OFFICIAL_SPLIT: "the column `split` of metadata.parquet, assigned by geography "
        "(Clasen et al. 2024, arXiv 2407.03653)",
    },
    published=PublishedScores(
        metric="average precision macro",
        protocol="k-NN, k 10, temperature 0.9, 10 bands, 120 px",
        scores={
            "MoCo v2": 58.14, "Tile2Vec": 54.95, "Ayush et al.": 58.41, "GeoBasic": 57.86,
            "GeoRank (MoCo v2)": 59.19, "SatMAE": 54.70, "ScaleMAE": 43.92,
            "CrossScaleMAE": 55.26, "SimCLR": 47.93, "GeoRank (SimCLR)": 54.95, "BYOL": 50.40,
            "GeoRank (BYOL)": 57.08, "SimSiam": 43.53, "GeoRank (SimSiam)": 57.53, "DINO": 56.61,
            "GeoRank (DINO)": 58.22,
        },
    ),
    notes=(
        "In the official split all dates of a place are in one part.",
        "The published numbers are of 10 bands, without B01 and B09.",
        "Bands of 20 and 60 m are enlarged to 120 px bilinearly, as torchgeo does.",
        "Patches under seasonal snow, cloud or shadow are left out, as recommended: 480,038 of "
        "549,488 remain.",
    ),
)  # fmt: skip

BIGEARTHNET = DataSet(
    name="bigearthnet",
    title="BigEarthNet V2, 549,488 patches of 120 px over Europe, 19 labels",
    reader=ReaderFacts(
        "georank_zoo.data.readers.bigearthnet:BigEarthNet",
        (
            BANDS_OPTION,
            ReaderOption(
                "metadata",
                "metadata.parquet of BigEarthNet, if it is not next to the patches.",
                "FILE",
                "path",
            ),
        ),
        "BigEarthNet: <tile>/<patch>/<patch>_B02.tif, 19 labels",
        slow=True,
    ),
    source="BigEarthNet v2.0 (reBEN; Clasen et al. 2024), https://bigearth.net, "
    "https://zenodo.org/records/10891137",
    license="CDLA-Permissive-1.0",
    layout="BigEarthNet-S2/<tile>/<patch>/<patch>_<band>.tif at 120, 60 and 20 px; "
    "metadata.parquet",
    # One file each; Level-2A has no B10.
    bands=("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
    unit="DN",
    level="L2A",
    image_size=120,
    target="labels",
    classes=tuple(CORINE),
    hub_id=_REPO,
    download=_DOWNLOAD,
    tasks=(_TASK,),
)

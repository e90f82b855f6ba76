"""So2Sat LCZ42: local climate zones of 42 cities and ten more, in three published splits."""

from __future__ import annotations

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    Checksum,
    DataSet,
    Download,
    PublishedScores,
    ReaderFacts,
    RemoteFile,
    TaskFacts,
)

# Names of the published splits, by the folder that holds one. They are not called after the
# folder alone: `random` is a split that this project draws for any store.
SPLIT_OF_FOLDER = {
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


def _task(folder: str) -> TaskFacts:
    split, scores = SPLIT_OF_FOLDER[folder], _PUBLISHED.get(folder)
    return TaskFacts(
        name=split.replace("official", "so2sat"),
        title=f"So2Sat LCZ42: local climate zones, {folder} split",
        split=split,
        official={split: _HOW[folder]},
        published=None
        if scores is None
        else PublishedScores(
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


# MD5 and the public account, which is the share's own name: torchgeo 0.8.1, datasets/so2sat.py.
# The three splits are the third version (mediaTUM 1613658). The fourth (mediaTUM 1836598) has only
# the second version's split, with positions.
_DOWNLOAD = Download(
    landing="https://mediatum.ub.tum.de/1613658",
    size="over 50 GB a split",
    files=tuple(
        RemoteFile(path, checksum=Checksum("md5", hexdigest))
        for path, hexdigest in (
            ("random/training.h5", "94e2e2e667b406c2adf61e113b42204e"),
            ("random/testing.h5", "1e15c425585ce816342d1cd779d453d8"),
            ("block/training.h5", "a91d6150e8b059dac86105853f377a11"),
            ("block/testing.h5", "6414af1ec33ace417e879f9c88066d47"),
            ("culture_10/training.h5", "702bc6a9368ebff4542d791e53469244"),
            ("culture_10/testing.h5", "58335ce34ca3a18424e19da84f2832fc"),
        )
    ),
    by_hand=(
        "download the files of the splits that you want from https://mediatum.ub.tum.de/1613658, "
        "or by FTP with its public account: wget -c -P {out}/random "
        "ftp://m1613658:m1613658@dataserv.ub.tum.de/random/training.h5",
        "put them into {out} as <split>/training.h5 and <split>/testing.h5, the splits being "
        "random, block and culture_10",
        "repeat this command, with --only 'random/*' for one split: it checks their MD5",
    ),
    note="mediaTUM serves it by FTP and a web page only.",
)

SO2SAT = DataSet(
    name="so2sat",
    title="So2Sat LCZ42, 32 px, 17 local climate zones, splits random, block and culture_10",
    reader=ReaderFacts(
        "georank_zoo.data.readers.so2sat:So2Sat",
        (BANDS_OPTION,),
        "So2Sat LCZ42: <split>/{training,testing}.h5, 10 bands, 17 classes",
    ),
    source="So2Sat LCZ42 v3 (Zhu et al. 2020), https://mediatum.ub.tum.de/1613658",
    license="CC-BY-4.0; contains modified Copernicus Sentinel data",
    layout="<split>/training.h5 and testing.h5 (culture_10 also validation.h5): sen2 "
    "(N, 32, 32, 10), label (N, 17) one-hot",
    # The last axis of `sen2`.
    bands=("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    unit="reflectance",
    level="L1C",
    image_size=32,
    # In this order they are the columns of `label`; wording as in torchgeo.
    classes=(
        "Compact high rise", "Compact mid rise", "Compact low rise", "Open high rise",
        "Open mid rise", "Open low rise", "Lightweight low rise", "Large low rise",
        "Sparsely built", "Heavy industry", "Dense trees", "Scattered trees", "Bush, scrub",
        "Low plants", "Bare rock or paved", "Bare soil or sand", "Water",
    ),
    download=_DOWNLOAD,
    tasks=tuple(_task(folder) for folder in SPLIT_OF_FOLDER),
)  # fmt: skip

"""Where each data set is published, and what is known of its files.

Every URL, size and checksum here was found in a public source, which the entry names; what could
not be found is None, is asked of the server before a download, and is recorded on the first one.
Files of the Hugging Face Hub are pinned to a commit.
"""

from __future__ import annotations

from georank_zoo.data.download.source import Archive, Checksum, DataSource, HubTree, RemoteFile

HUB = "https://huggingface.co"


def _hub(repo: str, revision: str, path: str) -> str:
    return f"{HUB}/datasets/{repo}/resolve/{revision}/{path}"


def _md5(hexdigest: str) -> Checksum:
    return Checksum("md5", hexdigest)


# Commit: torchgeo 0.8.1, datasets/eurosat.py. SHA-256 and size: the Hub's page of the commit that
# added the file, 8c86b35fe887a9db132f7d63ee359bc8e6fe78ea; the file did not change since. The same
# files are on Zenodo (record 7711810) in another zip.
_EUROSAT = DataSource(
    name="eurosat",
    title="EuroSAT MS, 27,000 labeled patches of 64 px over Europe",
    license="MIT; contains modified Copernicus Sentinel data",
    landing="https://github.com/phelber/EuroSAT",
    size="2.1 GB",
    archive=Archive(
        (
            RemoteFile(
                "EuroSATallBands.zip",
                _hub(
                    "torchgeo/eurosat",
                    "1ce6f1bfb56db63fd91b6ecc466ea67f2509774c",
                    "EuroSATallBands.zip",
                ),
                2_067_725_275,
                Checksum(
                    "sha256", "751f070f9bffa2eed48b24ca2dd0b02959280c08837e8c9a5532a67ba611df59"
                ),
            ),
        ),
        "zip",
        unpacked_bytes=2_960_689_632,  # all files of a published list of the archive's content
    ),
    by_hand=(
        "download EuroSAT_MS.zip (MD5 091174add3c8e680a49244acf185b9f0) from "
        "https://zenodo.org/records/7711810",
        "unpack it, so that {out}/AnnualCrop/AnnualCrop_1.tif and so on are there",
    ),
)

# URL and MD5: torchgeo 0.8.1, datasets/oscd.py. The size is not published.
_OSCD = DataSource(
    name="oscd",
    title="OSCD, 24 cities at two dates",
    license="Copernicus Sentinel data terms (the change labels, CC-BY-NC-SA, are not downloaded)",
    landing="https://rcdaudt.github.io/oscd/",
    size="not published",
    archive=Archive(
        (
            RemoteFile(
                "Onera Satellite Change Detection dataset - Images.zip",
                "https://partage.imt.fr/index.php/s/gKRaWgRnLMfwMGo/download",
                checksum=_md5("c50d4a2941da64e03a47ac4dec63d915"),
            ),
        ),
        "zip",
    ),
    by_hand=(
        "download the images from https://rcdaudt.github.io/oscd/ "
        "(zip, MD5 c50d4a2941da64e03a47ac4dec63d915)",
        "unpack them, so that {out}/abudhabi/imgs_1/ and so on are there",
    ),
)

# Commit and MD5: torchgeo 0.8.1, BigEarthNetV2. The repository holds Zenodo's record 10891137 as
# .tar.gz in parts; Zenodo's own .tar.zst (63,251,710,377 bytes) needs another unpacker.
_BIGEARTHNET_COMMIT = "3cf3a5910a5302d449fdb8e570e5b78de24fe07f"
_BIGEARTHNET = DataSource(
    name="bigearthnet",
    title="BigEarthNet V2, 549,488 patches of 120 px over Europe, 19 labels",
    license="CDLA-Permissive-1.0",
    landing="https://bigearth.net/",
    size="about 63 GB",
    files=(
        RemoteFile(
            "metadata.parquet",
            _hub("torchgeo/bigearthnet", _BIGEARTHNET_COMMIT, "V2/metadata.parquet"),
            3_616_349,  # of a copy with this MD5
            _md5("55687065e77b6d0b0f1ff604a6e7b49c"),
        ),
    ),
    archive=Archive(
        tuple(
            RemoteFile(name, _hub("torchgeo/bigearthnet", _BIGEARTHNET_COMMIT, f"V2/{name}"),
                       checksum=_md5(md5))
            for name, md5 in (
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
)  # fmt: skip

# MD5 and the public account, which is the share's own name: torchgeo 0.8.1, datasets/so2sat.py.
# The three splits are the third version (mediaTUM 1613658). The fourth (mediaTUM 1836598) has only
# the second version's split, with positions.
_SO2SAT = DataSource(
    name="so2sat",
    title="So2Sat LCZ42, 32 px, 17 local climate zones, splits random, block and culture_10",
    license="CC-BY-4.0; contains modified Copernicus Sentinel data",
    landing="https://mediatum.ub.tum.de/1613658",
    size="over 50 GB a split",
    files=tuple(
        RemoteFile(path, checksum=_md5(md5))
        for path, md5 in (
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

# Commit: the Hub's page of the branch main. Size: a public survey of the repository; Catalonia in
# 2019 is 77.6 GiB. License: MIT on the first data card and in the code's repository, none on the
# card of this commit.
_S4A = DataSource(
    name="s4a",
    title="Sen4AgriNet, crops in Catalonia and France, netCDF time series of 366 px",
    license="not stated on the data card (MIT in the authors' repository); contains modified "
    "Copernicus Sentinel data",
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

# Commit: the Hub's pages of the repository (its last one that touched segmentation_v1.0). Neither
# size nor checksum is published outside the Hub, which announces both.
_CASHEW = DataSource(
    name="cashew",
    title="GEO-Bench m-cashew-plant, segmentation of cashew plantations in Benin, 256 px",
    license="CC-BY-SA-4.0",
    landing="https://huggingface.co/datasets/recursix/geo-bench-1.0",
    size="not published",
    archive=Archive(
        (
            RemoteFile(
                "m-cashew-plant.zip",
                _hub(
                    "recursix/geo-bench-1.0",
                    "1e5754337032f097396db62cc15a5ff88f4618e8",
                    "segmentation_v1.0/m-cashew-plant.zip",
                ),
            ),
        ),
        "zip",
    ),
    by_hand=(
        "download segmentation_v1.0/m-cashew-plant.zip from "
        "https://huggingface.co/datasets/recursix/geo-bench-1.0",
        "unpack it, so that its .hdf5 files lie in {out}",
    ),
)

# Commit and MD5: torchgeo 0.8.1, datasets/ssl4eo.py (SSL4EOS12). Unpacked: by its 1.5 TB packed
# and 3.7 TB unpacked of the whole data set; the Level-2A archive is 554 GB.
_SSL4EO = DataSource(
    name="ssl4eo",
    title="SSL4EO-S12 Level-2A, 251,079 places at four seasons, 264 px",
    license="CC-BY-4.0",
    landing="https://github.com/zhu-xlab/SSL4EO-S12",
    size="554 GB",
    archive=Archive(
        tuple(
            RemoteFile(
                f"s2_l2a.tar.gz.part{part}",
                _hub("wangyi111/SSL4EO-S12", "3f5ddad68ba2ea29d019b0cef6cf292ff8af0d62",
                     f"s2_l2a/s2_l2a.tar.gz.part{part}"),
                checksum=_md5(md5),
            )
            for part, md5 in (
                ("aa", "ef847d906ab44cc9a94d086a89473833"),
                ("ab", "4a6a8ed9e2a08887707d83bcb6eb57af"),
                ("ac", "00b706a771df4c4df4cc70a20d790339"),
                ("ad", "579024e84bd9ab0b86e1182792c8dcf9"),
                ("ae", "e259f3536355b665aea490c22c897e59"),
                ("af", "2a15be319ad15f749bfd4ed85d14c172"),
                ("ag", "d8224cff1e727543473b0111e307110c"),
                ("ah", "0015d8aa5ea9201e13b401fd61c36c6f"),
                ("ai", "dfce87c0a9550177fd4b82887902b6e3"),
                ("aj", "688392701760b737ad74cb0e8c7fb731"),
                ("ak", "d8f3e4b110f22f0477973ed2c35586b6"),
                ("al", "1cc3641cd52afedaa1c50d14d84a6664"),
            )
        ),
        "tar.gz",
        keep_root=True,
        unpacked_bytes=1_400_000_000_000,
    ),
    by_hand=(
        "download the archive s2_l2a from https://mediatum.ub.tum.de/1660427, or the 100 places "
        "(600 MB) that https://github.com/zhu-xlab/SSL4EO-S12 links to",
        "unpack it, so that {out}/s2a/0000000/ and so on are there",
    ),
    note="12 million small files: choose a file system with as many free inodes.",
)  # fmt: skip

SOURCES: dict[str, DataSource] = {
    "eurosat": _EUROSAT,
    "oscd": _OSCD,
    "bigearthnet": _BIGEARTHNET,
    "so2sat": _SO2SAT,
    "s4a": _S4A,
    "cashew": _CASHEW,
    "ssl4eo": _SSL4EO,
}

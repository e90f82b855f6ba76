"""SSL4EO-S12: 251,079 places of the world at four seasons, for pretraining."""

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
    hub_url,
)

# Commit and MD5: torchgeo 0.8.1, datasets/ssl4eo.py (SSL4EOS12). Unpacked: by its 1.5 TB packed
# and 3.7 TB unpacked of the whole data set; the Level-2A archive is 554 GB.
_DOWNLOAD = Download(
    landing="https://github.com/zhu-xlab/SSL4EO-S12",
    size="554 GB",
    archive=Archive(
        tuple(
            RemoteFile(
                f"s2_l2a.tar.gz.part{part}",
                hub_url(
                    "wangyi111/SSL4EO-S12",
                    "3f5ddad68ba2ea29d019b0cef6cf292ff8af0d62",
                    f"s2_l2a/s2_l2a.tar.gz.part{part}",
                ),
                checksum=Checksum("md5", hexdigest),
            )
            for part, hexdigest in (
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
)

SSL4EO = DataSet(
    name="ssl4eo",
    title="SSL4EO-S12 Level-2A, 251,079 places at four seasons, 264 px",
    reader=ReaderFacts(
        "georank_zoo.data.readers.ssl4eo:Ssl4Eo",
        (BANDS_OPTION, SIZE_OPTION),
        "SSL4EO-S12: s2a (or s2c)/<place>/<acquisition>/B1.tif, four seasons",
        slow=True,
    ),
    source="SSL4EO-S12 (Wang et al. 2023), https://github.com/zhu-xlab/SSL4EO-S12",
    license="CC-BY-4.0",
    layout="s2a/<place>/<acquisition>/B1.tif ... B12.tif at 264, 132 and 44 px, metadata.json; "
    "s2c for Level-1C, which has B10 too",
    unit="DN",
    image_size=264,
    hub_id="wangyi111/SSL4EO-S12",
    download=_DOWNLOAD,
)

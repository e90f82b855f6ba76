"""Files of strangers: nothing leads out of them, and their headers take no memory."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from georank_zoo.data.files import raster
from georank_zoo.data.readers.folder import Folder
from georank_zoo.utils.errors import BadItem
from tests.support.trees import noise, write_tif


def vrt(target: Path, kind: str, side: int = 32) -> str:
    return (
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><Metadata>'
        '<MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
        f'<VRTRasterBand dataType="{kind}" band="1"><SimpleSource>'
        f"<SourceFilename>{target}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )


def pam(domain: str, key: str, target: Path) -> str:
    item = f'<MDI key="{key}">{target}</MDI>'
    return f'<PAMDataset><Metadata domain="{domain}">{item}</Metadata></PAMDataset>'


def overviews_in_the_file(path: Path, secret: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))


def beside(ending: str, text: Callable[[Path], str]) -> Callable[[Path, Path], None]:
    def write(path: Path, secret: Path) -> None:
        path.with_name(path.name + ending).write_text(text(secret))

    return write


def write_text(path: Path) -> Path:
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path, secret: path.write_text(vrt(secret, "UInt16")), "neither a GeoTIFF nor"),
        (lambda path, secret: path.write_text("<GDAL_WMS></GDAL_WMS>"), "neither a GeoTIFF nor"),
        (beside(".msk", lambda secret: vrt(secret, "Byte")), "bad sidecar: .msk"),
        (beside(".MsK", lambda secret: vrt(secret, "Byte")), "bad sidecar: .MsK"),
        (beside(".ovr", lambda secret: vrt(secret, "UInt16", 16)), "bad sidecar: .ovr"),
        (
            beside(".aux.xml", lambda secret: pam("OVERVIEWS", "OVERVIEW_FILE", secret)),
            "leads to another file: OVERVIEW_FILE",
        ),
        (
            beside(".aux.xml", lambda secret: pam("GEOLOCATION", "X_DATASET", secret)),
            "leads to another file: X_DATASET",
        ),
        (overviews_in_the_file, "leads to another file: OVERVIEW_FILE"),
        (
            lambda path, _: os.mkfifo(path.with_name(path.name + ".aux.xml")),
            "bad sidecar: a.tif.aux.xml is not",
        ),
        (lambda path, _: (path.unlink(), os.mkfifo(path)), "not a regular file"),
        # GDAL waited at these for ever, and took 8 GB for such a text of 450 MB.
        (lambda path, _: os.mkfifo(path.with_name("summary.txt")), "bad sidecar: summary.txt is"),
        (lambda path, _: os.mkfifo(path.with_suffix(".tfw")), "bad sidecar: a.tfw is not"),
        (
            lambda path, _: os.truncate(write_text(path.with_name("METADATA.DIM")), 2**25),
            "bad sidecar: METADATA.DIM has 33554432 bytes",
        ),
        (beside(".aux", lambda _: "EHFA_HEADER_TAG x.rrd"), "bad sidecar: .aux file: it leads"),
    ],
    ids=["vrt", "wms", "mask", "mask of any case", "overviews", "pam", "positions", "tag",
         "fifo beside", "fifo", "fifo of metadata", "fifo of a position", "text", "erdas"],
)  # fmt: skip
def test_nothing_leads_out_of_a_file(
    tmp_path: Path, make: Callable[[Path, Path], object], reason: str
) -> None:
    secret = write_tif(tmp_path / "elsewhere" / "secret.tif", noise((1, 32, 32)))
    path = write_tif(tmp_path / "tree" / "a.tif", noise((1, 32, 32)))
    make(path, secret)
    with pytest.raises(BadItem, match=reason), raster.opened(path):
        pass


def test_masks_and_notes_beside_a_file_are_still_read(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise((1, 32, 32)))
    mask = np.full((32, 32), 255, np.uint8)
    mask[:, 16:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists()
    nodata = '<PAMRasterBand band="1"><NoDataValue>9</NoDataValue></PAMRasterBand>'
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{nodata}</PAMDataset>")
    with raster.opened(path) as dataset:
        assert dataset.nodata == 9
        assert dataset.mask_flag_enums[0]
    (tmp_path / "a.tif.aux.xml").unlink()
    with raster.opened(path) as dataset:
        assert (dataset.dataset_mask() == 0).mean() == 0.5


def test_a_path_of_gdals_virtual_files_is_refused(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise((1, 32, 32)))
    with pytest.raises(BadItem, match="virtual"), raster.opened(Path(f"/vsisubfile/0_9,{path}")):
        pass
    odd = path.rename(tmp_path / "zip+file:x.tif")
    with raster.opened(odd) as dataset:
        assert dataset.count == 1


def sparse(path: Path, height: int, width: int, **options: object) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=4, height=height, width=width,
        crs="EPSG:32631", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10),
        SPARSE_OK=True, compress="deflate", **options,
    ) as dataset:  # fmt: skip
        dataset.descriptions = ("B02", "B03", "B04", "B08")
    return path


def jpeg_2000(path: Path, side: int) -> Path:
    """A file of one tile of code blocks of 4 x 4, whose header says another size than it has."""
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", dtype="uint16", count=1, height=64, width=64,
        crs="EPSG:32631", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10),
        QUALITY=100, REVERSIBLE=True, CODEBLOCK_WIDTH=4, CODEBLOCK_HEIGHT=4,
    ) as dataset:  # fmt: skip
        dataset.write(noise((1, 64, 64)))
    content = bytearray(path.read_bytes())
    size = content.index(b"\xff\x51")
    for at in (size + 6, size + 22, content.index(b"ihdr") + 4):
        struct.pack_into(">II", content, at, side, side)
    path.write_bytes(bytes(content) + bytes(200_000))
    return path


_PEAK = """
import resource, sys
from pathlib import Path
from georank_zoo.data.readers.folder import Folder
from georank_zoo.utils.errors import UsageError
resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))
reader = Folder(Path(sys.argv[1]), size=64, bands=["B02", "B03", "B04", "B08"])
for item in reader.items():
    print([(s.item, s.reason) for s in reader.read(item).left_out])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def test_sizes_of_a_header_take_no_memory(tmp_path: Path) -> None:
    good = noise((4, 64, 64))
    write_tif(tmp_path / "good.tif", good, descriptions=("B02", "B03", "B04", "B08"))
    sparse(tmp_path / "tile.tif", 64, 64, tiled=True, blockxsize=65536, blockysize=65536)
    sparse(tmp_path / "strip.tif", 100_000, 30_000, blockysize=100_000)
    sparse(tmp_path / "windows.tif", 2**19, 2**19, tiled=True, blockxsize=4096, blockysize=4096)
    sparse(tmp_path / "wide.tif", 64, 2**24)
    sparse(tmp_path / "held.tif", 4096, 4096)
    jpeg_2000(tmp_path / "jpeg.jp2", 20_000).rename(tmp_path / "jpeg.tif")  # took 10 GB
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *reports, peak = done.stdout.splitlines()
    bad = {name: reason for line in reports for name, reason in eval(line)}
    assert sorted(bad) == [
        "held.tif",
        "jpeg.tif",
        "strip.tif",
        "tile.tif",
        "wide.tif",
        "windows.tif",
    ]
    assert all(reason.startswith("too large: ") for reason in bad.values()), bad
    assert int(peak) < 2500  # torch and GDAL are 400 of it; the JPEG took 10,000


def test_real_jpeg_2000_files_are_read(tmp_path: Path) -> None:
    pixels = noise((2, 1500, 1500))
    for n, options in enumerate(({}, {"CODEC": "J2K"}, {"PRECINCTS": "{256,256},{128,128}"})):
        path = tmp_path / f"{n}.jp2"
        with rasterio.open(
            path, "w", driver="JP2OpenJPEG", dtype="uint16", count=2, height=1500, width=1500,
            QUALITY=100, REVERSIBLE=True, **options,
        ) as dataset:  # fmt: skip
            dataset.write(pixels)
        with raster.opened(path) as dataset:
            assert np.array_equal(dataset.read(), pixels)


def test_a_wide_raster_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise((4, 64, 200))
    write_tif(tmp_path / "wide.tif", pixels, descriptions=("B02", "B03", "B04", "B08"))
    monkeypatch.setattr(raster, "columns_at_once", lambda bands, size: 2 * size)
    reader = Folder(tmp_path, size=32)
    patches = reader.read(reader.items()[0]).patches
    assert len(patches) == 12
    for patch in patches:
        row, col = map(int, patch.key.rpartition("@")[2].split(","))
        assert np.array_equal(patch.pixels, pixels[:, row : row + 32, col : col + 32])

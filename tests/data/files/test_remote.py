"""Rasters of elsewhere: on request only, by ranges, and without a secret in what is kept."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from georank_zoo.data.files import raster, remote
from georank_zoo.data.prepare import prepare_store
from georank_zoo.embed.tiles import open_scene
from georank_zoo.utils.errors import GeorankError, UsageError
from tests.support.file_server import FileServer, Served
from tests.support.trees import FOLDER_BANDS, folder_tree, noise, write_tif


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FileServer() as running:
        yield running


def serve_scene(server: FileServer, tmp_path: Path, side: int = 1024) -> np.ndarray:
    pixels = noise((4, side, side))
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=4, height=side, width=side, tiled=True,
        crs="EPSG:32631", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10),
        blockxsize=64, blockysize=64, interleave="band",
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
        dataset.descriptions = FOLDER_BANDS
    server.files["data/scene.tif"] = Served(path.read_bytes())
    return pixels


def serve_tree(server: FileServer, root: Path, prefix: str) -> None:
    names = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.tif"))]
    for name in names:
        server.files[f"{prefix}/{name}"] = Served((root / name).read_bytes())
    for folder in {"", *(f"{name.rpartition('/')[0]}/" for name in names)}:
        inside = sorted({name.removeprefix(folder).split("/")[0] for name in names
                         if name.startswith(folder)})  # fmt: skip
        links = "".join(
            f'<a href="{name}{"" if name.endswith(".tif") else "/"}">x</a>' for name in inside
        )
        page = Served(f"<html>{links}</html>".encode(), headers={"Content-Type": "text/html"})
        server.files[f"{prefix}/{folder}"] = page
        server.files[f"{prefix}/{folder}".rstrip("/")] = page


@pytest.mark.parametrize(
    ("address", "opened", "name"),
    [
        ("https://h/a/b.tif", "/vsicurl/https://h/a/b.tif", "https://h/a/b.tif"),
        ("s3://b/k/x.tif", "/vsis3/b/k/x.tif", "s3://b/k/x.tif"),
        ("/vsis3/b/k/x.tif", "/vsis3/b/k/x.tif", "s3://b/k/x.tif"),
        ("/vsicurl/http://h/x.tif", "/vsicurl/http://h/x.tif", "http://h/x.tif"),
        (
            "https://me:se@cret@h/x.tif?sig=token#f",
            "/vsicurl/https://me:se@cret@h/x.tif?sig=token#f",
            "https://h/x.tif",
        ),
        (Path("https://h/x.tif"), "/vsicurl/https://h/x.tif", "https://h/x.tif"),
    ],
)
def test_addresses(address: str | Path, opened: str, name: str) -> None:
    found = remote.parse(address)
    assert (found.address, found.name) == (opened, name)


@pytest.mark.parametrize(
    "address", ["ftp://h/x.tif", "/vsizip/a.zip/x.tif", "/vsicurl/ftp://h/x", "file:///etc/x.tif"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="Valid: https"):
        remote.parse(address)


def test_nothing_is_fetched_unasked(server: FileServer, tmp_path: Path) -> None:
    serve_scene(server, tmp_path)
    url = f"{server.url}/data/scene.tif"
    for address in (url, f"/vsicurl/{url}", Path(url)):
        with pytest.raises(UsageError, match="--remote"), open_scene(address):
            pass
        with pytest.raises(UsageError, match="--remote"):
            prepare_store(address, tmp_path / "out", progress=False)
    with pytest.raises(raster.BadItem), raster.opened(Path(f"/vsicurl/{url}")):
        pass
    assert not server.requests


def test_a_scene_is_read_by_ranges(server: FileServer, tmp_path: Path) -> None:
    pixels = serve_scene(server, tmp_path)
    with open_scene(f"{server.url}/data/scene.tif?token=secret", remote=True) as scene:
        dn, _ = scene.read(Window(512, 512, 64, 64), ("B04", "B02"))
    assert np.array_equal(dn, pixels[[2, 0], 512:576, 512:576])
    assert 0 < server.sent < 0.25 * len(server.files["data/scene.tif"].content)
    assert all(server.ranges)
    asked = {name.partition(" ")[2] for name in server.requests}
    assert asked == {"data/scene.tif"}  # no .msk, .ovr, .aux.xml


def test_one_file_a_band_and_a_flaky_server(server: FileServer, tmp_path: Path) -> None:
    pixels = noise((2, 64, 64))
    lines = ["# bands", ""]
    for n, band in enumerate(("B02", "B08")):
        path = write_tif(tmp_path / f"T32_{band}.tif", pixels[n : n + 1])
        server.files[f"s/T32_{band}.tif"] = Served(path.read_bytes(), statuses=[503, 503])
        lines.append(f"{server.url}/s/T32_{band}.tif?sig=a")
    (tmp_path / "bands.txt").write_text("\n".join(lines))
    with open_scene(tmp_path / "bands.txt", remote=True) as scene:
        dn, _ = scene.read(Window(0, 0, 64, 64), ("B08", "B02"))
    assert np.array_equal(dn, pixels[::-1])


@pytest.mark.parametrize(
    ("served", "reason"), [(None, "404"), (Served(b"", statuses=[403] * 9, head=False), "403")]
)
def test_a_refusal_is_said_without_secrets(
    server: FileServer, served: Served | None, reason: str
) -> None:
    if served:
        server.files["gone/x y.tif"] = served
    address = f"{server.url.replace('//', '//me:pass@')}/gone/x y.tif?sig=token"
    with (
        pytest.raises(GeorankError) as caught,
        open_scene(address, remote=True),
    ):
        pass
    error: BaseException | None = caught.value
    assert reason in str(error)
    assert caught.value.exit_code == 1
    while error is not None:  # what a traceback would show
        assert not any(secret in str(error) for secret in ("token", "pass")), error
        error = error.__cause__


def test_a_list_of_addresses_is_a_folder(server: FileServer, tmp_path: Path) -> None:
    root = folder_tree(tmp_path / "tree", places=2)
    serve_tree(server, root, "data")
    host = server.url.removeprefix("http://")
    names = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.tif"))]
    (tmp_path / "urls.txt").write_text(
        "\ufeff" + "\n".join(f"{server.url}/data/{name}?sig=token" for name in names),
        encoding="utf-8",
    )
    here = prepare_store(root, tmp_path / "here", labels="parent", progress=False).store
    there = prepare_store(
        tmp_path / "urls.txt", tmp_path / "there", labels="parent", remote=True, progress=False
    ).store
    assert list(there.keys) == [f"{host}/data/{name}" for name in names]
    assert there.class_names == here.class_names == ("crop", "forest")
    every = np.arange(4)
    assert np.array_equal(there.read(every, there.bands), here.read(every, here.bands))
    assert np.array_equal(there.time, here.time)
    header = b"".join(p.read_bytes() for p in (tmp_path / "there").iterdir() if p.is_file())
    assert b"token" not in header


def test_a_folder_of_a_web_server(server: FileServer, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    root = folder_tree(tmp_path / "tree", places=2)
    serve_tree(server, root, "data")
    report = prepare_store(
        f"{server.url}/data", tmp_path / "out", labels="parent", remote=True, progress=False
    )
    assert sorted(report.store.keys) == sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*.tif")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tree/a.tif\n", "line 1: 'tree/a.tif' is no address"),
        ("https://h/a.tif?x=1\nhttps://h/a.tif?x=2\n", "line 2: .*listed twice"),
        ("# nothing\n", "lists no address"),
        ("http://[::1\n", "is no address"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "urls.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        remote.list_rasters(tmp_path / "urls.txt", (".tif",))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def fails(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fails)
    with pytest.raises(UsageError, match=r"georank-zoo\[remote\]"):
        remote.list_rasters("s3://bucket/prefix", (".tif",))


def test_a_bucket_is_read_with_gdals_variables(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = serve_scene(server, tmp_path)
    server.files["bucket/scene.tif"] = server.files["data/scene.tif"]
    for key, value in {
        "AWS_S3_ENDPOINT": server.url.removeprefix("http://"), "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    with open_scene("s3://bucket/scene.tif", remote=True) as scene:
        dn, _ = scene.read(Window(0, 0, 64, 64), ("B02",))
    assert np.array_equal(dn, pixels[:1, :64, :64])

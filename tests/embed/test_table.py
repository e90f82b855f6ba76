"""Features as a file: what is in it, and that a kill costs a chunk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from itertools import chain

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from georank_zoo.data.store.patch import NO_LABEL, NO_POSITION, NO_TIME, UNKNOWN, Patch
from georank_zoo.data.store.writer import StoreWriter
from georank_zoo.embed.extract import extract
from georank_zoo.embed.table import embed_store
from georank_zoo.models.encoder import create_model
from georank_zoo.utils.errors import GeorankError, Interrupted, ModelError, UsageError
from tests.faults import damages
from tests.support.models import make_export, make_network, make_store

LABELS = [0, 1, NO_LABEL] * 7


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store", LABELS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return create_model(make_export(tmp_path_factory.mktemp("model") / "m"))


def test_a_file_holds_what_extract_gives_and_where_it_comes_from(tmp_path, store, model):
    seen = []
    path = embed_store(
        model, store, tmp_path / "new" / "f.safetensors", batch_size=4, chunk_size=8,
        on_progress=lambda *a: seen.append(a[:2]),
    ).path  # fmt: skip
    assert seen == [(4, 21), (8, 21), (12, 21), (16, 21), (20, 21), (21, 21)]
    assert [p.name for p in path.parent.iterdir()] == ["f.safetensors"]
    columns = load_file(path)
    assert {name: str(c.dtype) for name, c in columns.items()} == {
        "features": "float32", "lat": "float64", "lon": "float64", "place": "int64",
        "time": "int64", "label": "int64",
    }  # fmt: skip
    np.testing.assert_array_equal(columns["features"], extract(model, store, batch_size=4))
    np.testing.assert_array_equal(columns["lat"], store.latlon[:, 0])
    np.testing.assert_array_equal(columns["lon"], store.latlon[:, 1])
    for name in ("place", "time", "label"):
        np.testing.assert_array_equal(columns[name], getattr(store, name))
    with safe_open(path, "np") as file:
        assert list(file.metadata()) == ["georank"]
        facts = json.loads(file.metadata()["georank"])
    assert facts["model_hash"] == model.model_hash
    assert facts["store_hash"] == store.hash
    assert facts["image_size"] == 32
    assert facts["class_names"] == ["class0", "class1"]


def test_paths_do_as_well_and_nothing_is_printed(tmp_path, store, capsys, monkeypatch):
    monkeypatch.setattr("georank_zoo.utils.progress.BAR_DELAY_S", 1000)
    folder = make_export(tmp_path / "m")
    model = create_model(folder).train()
    one = embed_store(folder, store.path, tmp_path / "one.safetensors")
    two = embed_store(model, store, tmp_path / "two.safetensors", device="cpu", progress=False)
    assert one.path.read_bytes() == two.path.read_bytes()
    assert all(module.training for module in model.modules())
    assert (one.patches, one.num_features) == (21, 96)
    assert str(one) == f"21 patches, 96 features each: {one.path}"
    assert os.fspath(one) == str(one.path)
    assert capsys.readouterr() == ("", "")


def test_half_precision_has_its_own_partial_files(tmp_path, store, model):
    path = tmp_path / "f.safetensors"
    folder = make_export(tmp_path / "m")
    interrupt(path, create_model(folder), store)
    half = create_model(folder).half()
    with pytest.raises(UsageError, match=r"other settings \(weights\)"):
        embed_store(half, store, path)
    embed_store(half, store, path, overwrite=True)
    np.testing.assert_array_equal(load_file(path)["features"], extract(half, store))


def test_without_labels_there_is_no_label(tmp_path, model):
    store = make_store(tmp_path / "store", [NO_LABEL] * 3, bands=("B02", "B8A"))
    path = embed_store(model, store, tmp_path / "f.safetensors", image_size=16).path
    assert "label" not in load_file(path)
    with safe_open(path, "np") as file:
        facts = json.loads(file.metadata()["georank"])
    assert facts["image_size"] == 16
    assert len(facts["bands_at_their_mean"]) == 10
    assert "label" not in pq.read_schema(embed_store(model, store, tmp_path / "f.parquet")).names


def test_parquet_has_the_same_and_opens_as_places(tmp_path, store, model, monkeypatch):
    monkeypatch.setattr("georank_zoo.embed.parquet._GROUP", 5)
    path = embed_store(model, store, tmp_path / "f.parquet", batch_size=4).path
    assert pq.ParquetFile(path).num_row_groups == 5
    frame = geopandas.read_parquet(path)
    np.testing.assert_array_equal(
        np.stack(frame["embedding"].to_list()), extract(model, store, batch_size=4)
    )
    assert frame.crs.to_epsg() in (4326, None)
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    np.testing.assert_array_equal(frame.geometry.x, store.latlon[:, 1])
    np.testing.assert_array_equal(frame.geometry.y, store.latlon[:, 0])
    assert frame["key"].to_list() == store.keys
    table = pq.read_table(path)
    assert table["label"].to_pylist() == [None if label < 0 else label for label in LABELS]
    assert store.time[0] == NO_TIME
    assert table["time"].to_pylist() == [None] * 21
    facts = json.loads(table.schema.metadata[b"georank"])
    assert facts["store_hash"] == store.hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.parquet", "store"]


def test_a_label_leaves_as_what_it_was(tmp_path, model):
    names = ["2", "10", "11"]
    store = make_store(tmp_path / "store", [1, 0, 2, -1], class_names=names)
    columns = load_file(embed_store(model, store, tmp_path / "f.safetensors"))
    assert columns["label"].tolist() == [1, 0, 2, -1]
    assert columns["class_numbers"].tolist() == [2, 10, 11]
    embed_store(model, store, tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    assert table["label"].to_pylist() == [1, 0, 2, None]
    assert table["class"].to_pylist() == [10, 2, 11, None]
    store = make_store(tmp_path / "named", [1, 0, -1], class_names=["Crop [wheat]", "2"])
    embed_store(model, store, tmp_path / "n.parquet")
    assert pq.read_table(tmp_path / "n.parquet")["class"].to_pylist() == ["2", "Crop [wheat]", None]
    assert "class_numbers" not in load_file(embed_store(model, store, tmp_path / "n.safetensors"))


def test_several_labels_and_unknown_positions(tmp_path, model):
    writer = StoreWriter(
        tmp_path / "store", bands=("B02",), size=8, spec={}, class_names=["a", "b", "c"],
        target="labels",
    )  # fmt: skip
    known = [np.array([1, 0, 1], np.uint8), None, np.array([0, 0, 0], np.uint8)]
    for i, labels in enumerate(known):
        lat, lon = (NO_POSITION, NO_POSITION) if i == 2 else (1.0 + i, 50.0)
        pixels = np.full((1, 8, 8), 1000 + i, np.uint16)
        writer.add([Patch(pixels, lat, lon, key=str(i), place="", labels=labels)])
    store = writer.finish(reader="test")
    columns = load_file(embed_store(model, store, tmp_path / "f.safetensors"))
    assert "label" not in columns
    np.testing.assert_array_equal(columns["labels"], [[1, 0, 1], [UNKNOWN] * 3, [0, 0, 0]])
    np.testing.assert_array_equal(columns["lat"], [1, 2, np.nan])
    np.testing.assert_array_equal(columns["features"], extract(model, store))
    frame = geopandas.read_parquet(embed_store(model, store, tmp_path / "f.parquet"))
    table = pq.read_table(tmp_path / "f.parquet")
    assert table["labels"].to_pylist() == [[0, 2], None, []]
    assert table["classes"].to_pylist() == [["a", "c"], None, []]
    assert table["lat"].to_pylist() == [1, 2, None]
    assert frame.geometry[1].x == 50
    assert frame.geometry[2] is None


def test_parquet_times_are_those_of_the_store(tmp_path, model, world_store):
    path = embed_store(model, world_store, tmp_path / "f.parquet").path
    times = [int(time.timestamp()) for time in pq.read_table(path)["time"].to_pylist()]
    np.testing.assert_array_equal(times, world_store.time)


@pytest.mark.parametrize("suffix", [".safetensors", ".parquet"])
def test_killed_and_resumed_the_file_is_the_same_to_the_byte(tmp_path, store, model, suffix):
    folder = make_export(tmp_path / "m")
    model = create_model(folder)
    whole = embed_store(model, store, tmp_path / f"whole{suffix}", batch_size=2, chunk_size=4).path
    path = tmp_path / f"f{suffix}"
    code = f"""
        import os, signal
        from georank_zoo.data.store.patch_store import PatchStore
        from georank_zoo.embed.table import embed_store
        from georank_zoo.models.encoder import create_model

        def kill(done, *_):
            if done == 14:
                os.kill(os.getpid(), signal.SIGKILL)

        embed_store(create_model({str(folder)!r}), PatchStore({str(store.path)!r}), {str(path)!r},
                    batch_size=2, chunk_size=4, on_progress=kill)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    partial = path.with_name(path.name + ".partial")
    rows = load_file(partial / "features.safetensors")["features"]
    np.testing.assert_array_equal(rows[:12], extract(model, store, batch_size=2)[:12])
    assert not rows[14:].any()

    seen = []
    embed_store(
        model, store, path, batch_size=2, chunk_size=4, on_progress=lambda *a: seen.append(a[:2])
    )
    assert seen[0] == (14, 21), "it began before or after the last finished chunk"
    assert path.read_bytes() == whole.read_bytes()
    assert not partial.exists()


def interrupt(path, model, store, at=8, **settings):
    def stop(done, *_):
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="resumes after the last"):
        embed_store(model, store, path, batch_size=4, chunk_size=4, on_progress=stop, **settings)


def test_a_partial_file_of_other_settings_is_refused(tmp_path, store, model):
    path = tmp_path / "f.safetensors"
    interrupt(path, model, store)
    other_weights = create_model(make_export(tmp_path / "m2", make_network(seed=1)))
    other_store = make_store(tmp_path / "store2", LABELS, seed=1)
    with pytest.raises(UsageError, match=r"other settings \(model_hash\)"):
        embed_store(other_weights, store, path)
    with pytest.raises(UsageError, match=r"other settings \(store_hash\)"):
        embed_store(model, other_store, path)
    with pytest.raises(UsageError, match=r"other settings \(image_size\)"):
        embed_store(model, store, path, image_size=16)
    embed_store(other_weights, store, path, overwrite=True)
    np.testing.assert_array_equal(load_file(path)["features"], extract(other_weights, store))


def test_random_models_are_told_apart_by_their_weights(tmp_path, store):
    folder = make_export(tmp_path / "m")
    one, two = (create_model(folder, pretrained=False) for _ in range(2))
    path = tmp_path / "f.safetensors"
    interrupt(path, one, store)
    with pytest.raises(UsageError, match=r"other settings \(weights\)"):
        embed_store(two, store, path)
    embed_store(one, store, path, batch_size=4)
    np.testing.assert_array_equal(load_file(path)["features"], extract(one, store, batch_size=4))


def test_a_cut_partial_file_is_begun_again(tmp_path, store, model):
    path = tmp_path / "f.safetensors"
    interrupt(path, model, store)
    half = tmp_path / "f.safetensors.partial" / "features.safetensors"
    half.write_bytes(half.read_bytes()[:2000])  # the rows that are said to be done are gone
    embed_store(model, store, path, batch_size=4)
    np.testing.assert_array_equal(load_file(path)["features"], extract(model, store, batch_size=4))


@pytest.mark.parametrize("where", [12, -600, -1], ids=["header", "done rows", "row to come"])
def test_a_changed_partial_file_is_no_silent_part_of_the_result(where, tmp_path, store, model):
    path = tmp_path / "f.safetensors"
    interrupt(path, model, store)
    half = tmp_path / "f.safetensors.partial" / "features.safetensors"
    content = bytearray(half.read_bytes())
    at = len(content) // 2 if where == -600 else where
    content[at] ^= 1
    half.write_bytes(content)
    embed_store(model, store, path, batch_size=4)
    np.testing.assert_array_equal(load_file(path)["features"], extract(model, store, batch_size=4))


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_no_damage_of_the_count_of_rows(every, tmp_path, store, model):
    path = tmp_path / "f.safetensors"
    interrupt(path, model, store)
    progress = tmp_path / "f.safetensors.partial" / "progress.json"
    good = progress.read_bytes()
    for what, damaged in damages.every(every, chain(damages.of_json(good), damages.of_text(good))):
        progress.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"progress\.json is damaged.*--overwrite"):
            embed_store(model, store, path, batch_size=4)
            pytest.fail(what)
    embed_store(model, store, path, batch_size=4, overwrite=True)
    np.testing.assert_array_equal(load_file(path)["features"], extract(model, store, batch_size=4))


def test_what_a_kill_leaves_after_the_rename_is_no_obstacle(tmp_path, store, model):
    path = tmp_path / "f.safetensors"
    interrupt(path, model, store)
    (tmp_path / "f.safetensors.partial" / "features.safetensors").rename(path)
    with pytest.raises(UsageError, match="exists"):
        embed_store(model, store, path)
    embed_store(model, store, path, batch_size=4, overwrite=True)
    np.testing.assert_array_equal(load_file(path)["features"], extract(model, store, batch_size=4))
    assert not path.with_name("f.safetensors.partial").exists()


def test_foreign_things_are_left_alone(tmp_path, store, model):
    (tmp_path / "f.parquet.partial").mkdir()
    (tmp_path / "f.parquet.partial" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="in the way"):
        embed_store(model, store, tmp_path / "f.parquet", overwrite=True)
    assert (tmp_path / "f.parquet.partial" / "thesis.tex").exists()
    with pytest.raises(UsageError, match=r"must end in \.safetensors or \.parquet"):
        embed_store(model, store, tmp_path / "f.csv")
    (tmp_path / "d.parquet").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        embed_store(model, store, tmp_path / "d.parquet", overwrite=True)


def test_overwrite_keeps_the_old_file_until_the_new_one_is_whole(tmp_path, store, model):
    path = tmp_path / "f.safetensors"
    path.write_text("old")
    with pytest.raises(UsageError, match="--overwrite"):
        embed_store(model, store, path)
    interrupt(path, model, store, overwrite=True)
    assert path.read_text() == "old"
    embed_store(model, store, path, overwrite=True)
    assert len(load_file(path)["features"]) == 21


def test_broken_features_give_no_file(tmp_path, store, model):
    class Broken(torch.nn.Module):
        num_features = 4

        def forward(self, x):
            return torch.full((len(x), 4), torch.nan)

    broken = create_model(make_export(tmp_path / "m"))
    broken.backbone, broken.num_features = Broken(), 4
    with pytest.raises(ModelError, match="NaN"):
        embed_store(broken, store, tmp_path / "f.safetensors")
    assert not (tmp_path / "f.safetensors").exists()


def test_a_full_disk_is_told_with_its_place(tmp_path, store, model, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("georank_zoo.embed.resume.bytes", full, raising=False)
    with pytest.raises(GeorankError, match=r"disk is full at .*f\.safetensors\.partial"):
        embed_store(model, store, tmp_path / "f.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_memory_does_not_grow_with_the_number_of_patches(tmp_path, model):
    class Wide(torch.nn.Module):
        num_features = 20_000

        def forward(self, x):
            return x.mean((1, 2, 3))[:, None].expand(-1, 20_000).contiguous()

    store = make_store(tmp_path / "store", [0] * 64, size=8)
    wide = create_model(make_export(tmp_path / "m"))
    wide.backbone, wide.num_features = Wide(), 20_000
    tracemalloc.start()
    path = embed_store(wide, store, tmp_path / "f.safetensors", batch_size=4, chunk_size=8).path
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 64 * 20_000 * 4
    # A chunk's finite test and a few buffers; all features together are 5.1 MB.
    assert peak < 2_500_000

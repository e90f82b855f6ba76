"""The front door as a type checker sees it: read by mypy in tests/test_typing.py, never run.

`assert_type` fails where a name is unknown to the checker, for its type is then Any.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
import torch

import georank_zoo as gz

assert_type(gz.__version__, str)

assert_type(gz.list_models("*georank*"), list[str])
assert_type(gz.list_recipes("*georank*"), list[str])
assert_type(gz.list_tasks("*"), list[str])

# Models.
model = gz.create_model("org/georank-moco-r18", bands="rgbn", unit="dn")
assert_type(model, gz.Encoder)
images: npt.NDArray[np.uint16] = np.zeros((8, 4, 64, 64), np.uint16)
z = model.encode(images, bands="rgbn", unit="dn", image_size=64, batch_size=256)
assert_type(z, npt.NDArray[np.float32])
assert_type(model.encode(torch.zeros(4, 64, 64)), npt.NDArray[np.float32])

# Data.
report = gz.prepare_store("my_geotiffs", "stores/mine", reader="folder")
assert_type(report.store, gz.PatchStore)
assert_type(gz.merge_stores(["stores/1", "stores/2"], "stores/all"), gz.PatchStore)
store = gz.open_store("stores/mine")
assert_type(store, gz.PatchStore)
assert_type(len(store), int)
sample: dict[str, Any] = store[0]
store.plot(0).savefig("patch.png")
store.plot_map().savefig("map.png")

# Training.
recipe = gz.load_recipe("moco_georank", data="stores/mine", train={"steps": 500})
assert_type(recipe, gz.Recipe)
run = gz.train(recipe, "runs/a")
assert_type(run, gz.Run)
assert_type(gz.open_run("runs/a"), gz.Run)
assert_type(run.recipe, gz.Recipe)
assert_type(run.model(), gz.Encoder)
run.metrics()
run.plot().savefig("curves.png")
assert_type(gz.create_model(run), gz.Encoder)

# Evaluation.
scores = gz.evaluate([run, "runs/b"], store, task="eurosat", protocols=["knn", "linear"])
assert_type(scores, gz.Scores)
assert_type(gz.evaluate(model, "stores/mine", task="eurosat"), gz.Scores)
scores.to_dataframe()
scores.save("results.csv")
comparison = gz.compare(scores, "results.csv")
assert_type(comparison, gz.Comparison)
comparison.to_dataframe()
comparison.plot().savefig("comparison.png")

# The loss.
rank_loss = gz.GeoRankLoss(max_km=3000)
assert_type(rank_loss, gz.GeoRankLoss)
losses: list[torch.Tensor] = [
    rank_loss(torch.zeros(8, 4), torch.zeros(8, 2)),
    rank_loss(z, store.latlon[:8]),
    rank_loss(z, [[48.1, 11.6]] * 8),
]

# Looking for damage.
assert_type(gz.doctor("stores/mine").findings, tuple[str, ...])

# Embeddings and the Hub.
gz.embed_store(model, store, "embeddings.parquet")
gz.embed_scene(model, "scene.tif", "embeddings.tif")
gz.push("runs/a", "org/name")

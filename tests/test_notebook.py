"""The front door in a notebook, executed by a kernel as Jupyter does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from tests.support.documents import ROOT
from tests.support.notebook import make_folder

HTML, PNG = "text/html", "image/png"
MOST_BYTES = 3_000_000  # figures that a notebook can hold many of
# Each cell, and what its value shows itself as.
CELLS = [
    ("import georank_zoo as gz\n(gz.list_models('*georank*'), gz.list_recipes('*georank*'))", ""),
    ("store = gz.open_store('stores/mine')\nstore", HTML),
    ("store.plot(3)", PNG),
    ("store.plot_map()", PNG),
    (
        "recipe = gz.load_recipe('moco_georank', data='stores/mine', views={'size': 16},\n"
        "    backbone={'name': 'test_resnet'}, algorithm={'queue_size': 32},\n"
        "    train={'steps': 4, 'batch_size': 8, 'precision': 'fp32', 'workers': 0})\n"
        "run = gz.train(recipe, 'runs/a')\n"
        "run",
        HTML,
    ),
    ("run.metrics()", HTML),
    ("run.plot()", PNG),
    ("model = run.model()\nmodel", HTML),
    ("z = model.encode(store[3]['image'], unit='reflectance')\nz.shape", ""),
    (
        "scores = gz.evaluate([run, 'runs/moco-r18'], store, task='synthetic',\n"
        "    protocols=['knn', 'linear'])\n"
        "scores",
        HTML,
    ),
    ("scores.save('results.csv')\nscores.to_dataframe()", HTML),
    ("comparison = gz.compare('results.csv')\ncomparison", HTML),
    ("comparison.plot()", PNG),
    (
        "import torch\n"
        "patches = torch.stack([store[i]['image'] for i in range(8)])\n"
        "gz.GeoRankLoss()(model.encode(patches, unit='reflectance'), store.latlon[:8])",
        "",
    ),
]


def test_values_show_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    path = tmp_path / "georank.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source, _ in CELLS]), path)
    client = NotebookClient(
        nbformat.read(path, as_version=4), timeout=300, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    executed = client.execute()
    for (source, kind), cell in zip(CELLS, executed["cells"], strict=True):
        data = shown(cell)
        assert "text/plain" in data, source
        if kind:
            assert data[kind].strip(), source
    nbformat.validate(executed)
    nbformat.write(executed, path)
    assert path.stat().st_size < MOST_BYTES


def shown(cell: Any) -> dict[str, Any]:
    """The value of a cell's last line, by MIME type."""
    values = [out["data"] for out in cell["outputs"] if out["output_type"] == "execute_result"]
    return dict(values[-1]) if values else {}

"""The registry of data sets: one file of facts each."""

from __future__ import annotations

from georank_zoo.data.datasets.base import DataSet
from georank_zoo.data.datasets.bigearthnet import BIGEARTHNET
from georank_zoo.data.datasets.cashew import CASHEW
from georank_zoo.data.datasets.eurosat import EUROSAT
from georank_zoo.data.datasets.folder import FOLDER
from georank_zoo.data.datasets.oscd import OSCD
from georank_zoo.data.datasets.s4a import S4A
from georank_zoo.data.datasets.so2sat import SO2SAT
from georank_zoo.data.datasets.ssl4eo import SSL4EO
from georank_zoo.data.datasets.ssl4eo_zarr import SSL4EO_ZARR
from georank_zoo.data.datasets.synthetic import SYNTHETIC

DATASETS: dict[str, DataSet] = {
    "eurosat": EUROSAT,
    "bigearthnet": BIGEARTHNET,
    "so2sat": SO2SAT,
    "s4a": S4A,
    "cashew": CASHEW,
    "ssl4eo": SSL4EO,
    "ssl4eo-v1.1": SSL4EO_ZARR,
    "oscd": OSCD,
    "folder": FOLDER,
    "synthetic": SYNTHETIC,
}
"""Readers, downloads, evaluation tasks, model cards and the command line take theirs from here."""

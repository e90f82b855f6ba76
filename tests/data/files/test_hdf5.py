"""Sizes that an HDF5 header states take no memory."""

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from georank_zoo.data.files import hdf5
from georank_zoo.utils.errors import BadItem


def test_sizes_of_a_header_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        # Nothing is written: 10 kB state 80 GB.
        file.create_dataset("long", (10**10,), "f8", chunks=(1024,))
        file.create_dataset("chunk", (2**15, 2**15), "u2", chunks=(2**15, 2**15))
        file["good"] = np.arange(5)
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    with hdf5.open_hdf5(path) as file:
        with pytest.raises(BadItem, match=r"too large: long is 74.5 GiB"):
            hdf5.read_array(file, "long", (None,))
        with pytest.raises(BadItem, match=r"too large: chunk has chunks of 2.0 GiB"):
            hdf5.array(file, "chunk", (None, None))
        assert hdf5.read_array(file, "good", (5,)).tolist() == [0, 1, 2, 3, 4]
        assert hdf5.array(file, "long", (None,))[3:5].tolist() == [0, 0]
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()

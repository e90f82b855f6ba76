"""SSL4EO-S12 v1.1: 246,144 places at four seasons as Zarr files, for pretraining."""

from __future__ import annotations

from georank_zoo.data.datasets.base import BANDS_OPTION, SIZE_OPTION, DataSet, ReaderFacts

SSL4EO_ZARR = DataSet(
    name="ssl4eo-v1.1",
    title="SSL4EO-S12 v1.1, 246,144 places at four seasons, 264 px",
    reader=ReaderFacts(
        "georank_zoo.data.readers.ssl4eo_zarr:Ssl4EoZarr",
        (BANDS_OPTION, SIZE_OPTION),
        "SSL4EO-S12 v1.1: S2L2A (or S2L1C)/*.zarr.zip, four seasons",
    ),
    source="SSL4EO-S12 v1.1 (Blumenstiel et al. 2025), "
    "https://huggingface.co/datasets/embed2scale/SSL4EO-S12-v1.1-Zarr",
    license="CC-BY-4.0",
    layout="S2L2A/ssl4eos12_train_seasonal_data_000001.zarr.zip: a Zarr group of 64 places with "
    "bands (sample, time, band, y, x); S2L1C for Level-1C",
    unit="DN",
    image_size=264,
    hub_id="embed2scale/SSL4EO-S12-v1.1-Zarr",
)

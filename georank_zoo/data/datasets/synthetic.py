"""Generated landscapes, for demonstrations and tests."""

from __future__ import annotations

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    SIZE_OPTION,
    DataSet,
    ReaderFacts,
    ReaderOption,
    TaskFacts,
)

SYNTHETIC = DataSet(
    name="synthetic",
    title="A synthetic world",
    reader=ReaderFacts(
        "georank_zoo.data.readers.synthetic:open_world",
        (
            BANDS_OPTION,
            SIZE_OPTION,
            ReaderOption("places", "Places of a synthetic world.", kind="number", at_least=1),
            ReaderOption("seed", "Seed of a synthetic world.", kind="number"),
        ),
        "A synthetic world; generated if SOURCE is empty",
        slow=True,
    ),
    source="georank-zoo synthetic world",
    license="CC0-1.0",
    layout="<class>/p<place>_<date>.tif and world.json",
    unit="DN",
    level="L2A",
    tasks=(TaskFacts(name="synthetic", title="Classes of a synthetic world"),),
)

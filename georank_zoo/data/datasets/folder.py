"""The user's own GeoTIFFs."""

from __future__ import annotations

from georank_zoo.data.datasets.base import (
    BANDS_OPTION,
    SIZE_OPTION,
    DataSet,
    ReaderFacts,
    ReaderOption,
    TaskFacts,
)

FOLDER = DataSet(
    name="folder",
    title="Any tree of georeferenced multi-band GeoTIFFs",
    reader=ReaderFacts(
        "georank_zoo.data.readers.folder:Folder",
        (
            BANDS_OPTION,
            ReaderOption(
                "ignore_descriptions",
                "Take the bands of --bands in file order, whatever the files call them.",
                kind="flag",
            ),
            SIZE_OPTION,
            ReaderOption(
                "labels",
                "Labels from the parent folders' names, a CSV (filename,label[,lat,lon]) or a "
                "GeoJSON file.",
                "parent|FILE",
            ),
            ReaderOption(
                "unit",
                "Unit of the pixels [default: what the files say, else dn].",
                "dn|reflectance",
            ),
            ReaderOption(
                "offset",
                "Subtract this [default: what the files, their product's XML or the baseline in "
                "their names say: 1000 for processing baseline 04.00 and later].",
                "DN",
                "number",
                at_most=10000,
            ),
            ReaderOption(
                "radiometry",
                "Whether what files and products say of their numbers must agree with --unit and "
                "--offset, or these alone count [default: auto].",
                "auto|options",
            ),
            ReaderOption(
                "remote",
                "SOURCE may be a folder at https://, http:// or s3://, or a text file that lists "
                "addresses of rasters, one a line.",
                kind="flag",
            ),
        ),
        "Any tree of georeferenced multi-band GeoTIFFs",
        slow=True,
    ),
    source="folder of GeoTIFFs",
    license="unknown",
    layout="<...>/<any name>.tif, one acquisition of one place each",
    tasks=(TaskFacts(name="folder", title="Classes of a labeled store"),),
)

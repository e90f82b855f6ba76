"""Facts of a data set: what it is, how it is read, where it is published, how it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Target = Literal["class", "labels", "mask"]
"""What is known of a patch: one class, any number of labels, or a class per pixel."""


DEFAULT_METRICS: dict[Target, tuple[str, ...]] = {
    "class": ("accuracy_macro", "accuracy_overall"),
    "labels": ("ap_macro", "ap_micro", "f1_macro", "f1_micro"),
    "mask": ("miou", "pixel_accuracy"),
}

HUB = "https://huggingface.co"

OFFICIAL_SPLIT = "official"  # name of a published split where there is only one


@dataclass(frozen=True)
class ReaderOption:
    """An option of a reader, which `georank data prepare` takes as `--<name>`.

    Attributes:
        name: Keyword argument of the reader.
        help: One line for the help.
        metavar: Placeholder of the value in the help.
        kind: Type of the value.
        at_least: Smallest value of a number.
        at_most: Largest value of a number.
    """

    name: str
    help: str
    metavar: str = ""
    kind: Literal["text", "path", "number", "flag"] = "text"
    at_least: int = 0
    at_most: int | None = None


BANDS_OPTION = ReaderOption(
    "bands",
    "Bands to take, such as s2-12 or B02,B03,B04. For a folder whose files do not name their "
    "bands: the files' bands in file order.",
    "NAMES",
)
SIZE_OPTION = ReaderOption(
    "size", "Patch side; larger rasters are cut.", "PIXELS", "number", at_least=8, at_most=2048
)


@dataclass(frozen=True)
class ReaderFacts:
    """The reader of a data set.

    Attributes:
        factory: Class or function that makes it, as `module:callable`; imported on use, because
            `georank --help` must not import rasterio.
        options: Keyword arguments that it takes.
        summary: One line for the help.
        slow: Whether opening it takes long enough to report progress.
    """

    factory: str
    options: tuple[ReaderOption, ...]
    summary: str
    slow: bool = False


@dataclass(frozen=True)
class Checksum:
    """Hash of a file's content.

    Attributes:
        algorithm: `sha256` or, where nothing else is published, `md5`.
        hexdigest: Lower-case hex digits.
        published: False if the server tells it before the download and nobody else does.
    """

    algorithm: Literal["sha256", "md5"]
    hexdigest: str
    published: bool = True


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        path: Place in the data set's folder.
        url: Address; None if it can only be fetched by hand.
        size: Bytes, if published.
        checksum: Checksum, if published.
    """

    path: str
    url: str | None = None
    size: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True)
class Archive:
    """One archive, which may be published in parts.

    Attributes:
        parts: Files that follow each other.
        kind: Format of the parts put together.
        keep_root: Whether a folder that holds all the others belongs to the layout; if not, the
            content of the innermost such folder is kept.
        unpacked_bytes: Disk space of the content, for the check before the download.
    """

    parts: tuple[RemoteFile, ...]
    kind: Literal["zip", "tar.gz"]
    keep_root: bool = False
    unpacked_bytes: int | None = None


@dataclass(frozen=True)
class HubTree:
    """All files of a folder in a data set repository of the Hub, at a commit.

    The Hub lists them with their sizes and SHA-256.
    """

    repo: str
    revision: str
    folder: str


@dataclass(frozen=True)
class Download:
    """Where a data set is published.

    Every URL, size and checksum comes from a public source that the data set's file names; what
    could not be found is None, is asked of the server before a download, and is recorded on the
    first one. Files of the Hub are pinned to a commit.

    Attributes:
        landing: Page of the data set.
        size: Size of the download, in words.
        by_hand: Steps that lead to the same folder without this program; `{out}` is the folder.
        files: Files that are used as they are.
        archive: Archive to unpack.
        tree: Folder of the Hub to copy.
        note: Remark that is shown before a download.
    """

    landing: str
    size: str
    by_hand: tuple[str, ...]
    files: tuple[RemoteFile, ...] = ()
    archive: Archive | None = None
    tree: HubTree | None = None
    note: str = ""

    @property
    def automatic(self) -> bool:
        """Whether all of it can be downloaded without a person."""
        parts = self.archive.parts if self.archive else ()
        return all(file.url for file in (*self.files, *parts))


def hub_url(repo: str, revision: str, path: str) -> str:
    """Address of a file of a data set repository on the Hub at a commit."""
    return f"{HUB}/datasets/{repo}/resolve/{revision}/{path}"


@dataclass(frozen=True)
class PublishedScores:
    """Published scores of a task, for comparison; their bands and sizes may differ from ours.

    Attributes:
        metric: Name in the words of the source.
        protocol: Protocol of the source.
        scores: Percent by method.
        source: Publication.
    """

    metric: str
    protocol: str
    scores: Mapping[str, float]
    source: str = "Burgert et al. 2026 (WACV), arXiv 2601.02289"


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """How a labeled data set is scored.

    Attributes:
        name: Name on the command line and in results.
        title: Prediction target in a few words.
        split: Default split.
        official: Published splits, by the name that `--split` takes, each with its source.
        own: Splits of this project that the reader gives, where the paper's is not public, by
            name, each with how it was drawn.
        metrics: Names of the metrics, the first of them the one that counts; by default those of
            the target. See `georank_zoo.eval.metrics.score`.
        published: Published scores.
        notes: Remarks that a reader of the numbers needs.
    """

    name: str
    title: str
    split: str = "random"
    official: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    published: PublishedScores | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set.

    Attributes:
        name: Name of the data set, of its reader and of its download.
        title: One line for people.
        reader: Its reader.
        source: Who published it, and where.
        license: License of the data.
        license_source: Page or file that states the license.
        layout: Its files.
        bands: Bands in the order of the files; empty where the user's files decide.
        unit: Unit of the pixels in the files.
        level: Product level; empty where the files decide.
        image_size: Patch side in pixels; 0 where the user decides.
        target: Kind of annotation of a patch: its class, its labels or a mask.
        classes: Class names of the labels 0, 1, ...; empty where the user's files decide.
        hub_id: Id of the data set on the Hub, which model cards link to and state results on.
        download: Its publication; None where there is nothing to download.
        tasks: Its evaluation tasks; empty if it is for pretraining only.
    """

    name: str
    title: str
    reader: ReaderFacts
    source: str
    license: str
    license_source: str = ""
    layout: str = ""
    bands: tuple[str, ...] = ()
    unit: Literal["DN", "reflectance", ""] = ""
    level: Literal["L1C", "L2A", ""] = ""
    image_size: int = 0
    target: Target = "class"
    classes: tuple[str, ...] = ()
    hub_id: str = ""
    download: Download | None = None
    tasks: tuple[TaskFacts, ...] = ()

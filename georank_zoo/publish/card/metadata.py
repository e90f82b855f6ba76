"""The YAML front matter of a model card, checked as the Hub would check it.

The Hub validates cards only online; huggingface_hub refuses broken YAML and a broken model-index,
but takes any license, library and task. So those are compared with lists kept here.
"""

from __future__ import annotations

from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from georank_zoo.data.datasets import DATASETS
from georank_zoo.eval.results.settings import named_values
from georank_zoo.eval.results.table import Row
from georank_zoo.eval.tasks import TASKS, Task
from georank_zoo.publish.card.evaluation import Evaluation
from georank_zoo.publish.card.facts import Facts
from georank_zoo.training.recipe_yaml import parse_yaml
from georank_zoo.utils.errors import GeorankError, UsageError, plain, unknown_name

LIBRARY = "timm"
PIPELINE_TAG = "image-feature-extraction"
DEFAULT_LICENSE = "apache-2.0"  # that of this project

# Libraries and tasks of the Hub that fit such a model (npm @huggingface/tasks 0.21.54).
LIBRARIES = ("timm", "torchgeo")
PIPELINE_TAGS = ("image-feature-extraction", "feature-extraction", "image-classification")
# The identifiers in https://huggingface.co/docs/hub/repositories-licenses (November 2026) that
# are used for weights and need no file beside the card, as `other` does.
LICENSES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "isc", "mpl-2.0", "openrail",
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "c-uda",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "etalab-2.0", "eupl-1.1",
    "ecl-2.0", "epl-2.0", "lgpl-2.1", "lgpl-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0", "odc-by",
    "odbl", "pddl", "unlicense", "ncsa", "zlib",
)  # fmt: skip

_METRICS = {
    "accuracy_macro": ("accuracy", "Macro accuracy"),
    "accuracy_overall": ("accuracy", "Overall accuracy"),
}


def check_license(license: str) -> str:
    """Returns the identifier of a license.

    Raises:
        UsageError: If the Hub does not know it, or it needs more than an identifier.
    """
    if license.lower() not in LICENSES:
        raise unknown_name("license", license, LICENSES)
    return license.lower()


def front_matter(facts: Facts, evaluation: Evaluation | None, *, license: str) -> str:
    """The YAML between the card's two lines of dashes.

    Raises:
        UsageError: If the license is unknown.
    """
    document: dict[str, Any] = {
        "license": check_license(license),
        "library_name": LIBRARY,
        "pipeline_tag": PIPELINE_TAG,
        "tags": _tags(facts),
    }
    dataset = DATASETS.get(facts.data.reader) if facts.data is not None else None
    if dataset is not None and dataset.hub_id:
        document["datasets"] = [dataset.hub_id]
    rows = evaluation.published if evaluation else ()
    if rows:
        document["metrics"] = sorted({_metric(row)[0] for row in rows})
        document["model-index"] = [{"name": facts.name, "results": _results(rows)}]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def read_card(text: str, *, where: str) -> ModelCard:
    """Reads a model card.

    Args:
        text: The card.
        where: Its file, for messages.

    Raises:
        GeorankError: If its front matter is damaged; says where.
    """
    found = REGEX_YAML_BLOCK.search(text)
    if found:  # strictly: the Hub's own reader takes keys that stand twice, and aliases
        below = "\n" * found[1].count("\n") + found[2]  # for the number of the line
        parse_yaml(below, where=f"The front matter of {where}", error=GeorankError)
    try:
        return ModelCard(text)
    except (ValueError, TypeError, AttributeError, LookupError, yaml.YAMLError) as error:
        reason = plain(" ".join(str(error).split()), 300)
        raise GeorankError(f"The front matter of {where} is damaged: {reason}.") from error


def check_front_matter(text: str, evaluation: Evaluation | None) -> None:
    """Checks a whole card's front matter, and that its scores stand in the rows.

    Args:
        text: The card.
        evaluation: The rows that it may show.

    Raises:
        GeorankError: Says what the Hub would refuse, or which score no row holds.
    """
    data = read_card(text, where="the card").data
    assert isinstance(data, ModelCardData)
    for value, valid, key in (
        (data.license, LICENSES, "license"),
        (data.library_name, LIBRARIES, "library_name"),
        (data.pipeline_tag, PIPELINE_TAGS, "pipeline_tag"),
    ):
        if value not in valid:
            raise UsageError(f"The card's front matter: {unknown_name(key, value, valid)}")
    rows = evaluation.published if evaluation else ()
    known = {
        (TASKS[row.task].dataset.hub_id, *_setting(row), _metric(row)[1], row.value) for row in rows
    }
    for result in data.eval_results or ():
        stated = (
            result.dataset_type, result.dataset_config, result.dataset_split, result.metric_name,
            result.metric_value,
        )  # fmt: skip
        if stated not in known:
            raise GeorankError(
                f"The card's model-index states {result.metric_name} {result.metric_value} "
                f"({result.dataset_config}), which no row of results.csv holds."
            )
    if len(data.eval_results or ()) != len(rows):
        raise GeorankError(f"The card's model-index does not hold the {len(rows)} scores.")


def _tags(facts: Facts) -> list[str]:
    tags = ["remote-sensing", "earth-observation", "sentinel-2", "multispectral",
            "self-supervised-learning"]  # fmt: skip
    if facts.recipe is not None:
        tags.append(facts.recipe.algorithm.name)
        if facts.recipe.regularizer.name != "none":
            tags.append(facts.recipe.regularizer.name.replace("_", "-"))
    return [*tags, facts.network.architecture, "georank-zoo"]


def _setting(row: Row) -> tuple[str, str]:
    """What tells a result's data set from others: its `config` and its `split`."""
    variant = f", k={row.k}" if row.k is not None else ""
    given = "".join(f", {setting}" for setting in named_values(row.settings))
    config = f"{row.protocol}{variant}{given}, {row.image_size} px, store {row.store_hash[:12]}"
    return config, row.split


def _kind(task: Task) -> str:
    return "image-segmentation" if task.target == "mask" else "image-classification"


def _metric(row: Row) -> tuple[str, str]:
    """The Hub's name of a metric, and ours."""
    return _METRICS.get(row.metric, (row.metric, row.metric.replace("_", " ").capitalize()))


def _results(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """The model-index: one entry per setting, with its metrics as fractions."""
    entries: dict[tuple[object, ...], dict[str, Any]] = {}
    for row in rows:
        config, split = _setting(row)
        task = TASKS[row.task]
        entry = entries.setdefault(
            (row.task, config, split),
            {
                "task": {"type": _kind(task), "name": f"{task.title} ({row.protocol})"},
                "dataset": {
                    "type": task.dataset.hub_id,
                    "name": f"{task.name}, {row.n_test} test samples",
                    "config": config,
                    "split": split,
                },
                "metrics": [],
            },
        )
        kind, name = _metric(row)
        entry["metrics"].append({"type": kind, "value": row.value, "name": name})
    return list(entries.values())

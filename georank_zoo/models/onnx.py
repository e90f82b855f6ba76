"""Export to ONNX: a file that takes reflectance, checked against torch by onnxruntime."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from georank_zoo import bands as s2
from georank_zoo.models.config import has_fixed_size
from georank_zoo.models.encoder import Encoder, as_encoder
from georank_zoo.models.find import ModelSource
from georank_zoo.utils.errors import ModelError, UsageError
from georank_zoo.utils.files import new_file
from georank_zoo.utils.locks import output_lock

logger = logging.getLogger(__name__)

ONNX_FORMAT = "georank-onnx/1"
ONNX_SUFFIX = ".onnx"
INPUT, OUTPUT = "reflectance", "features"

# What onnxruntime 1.20 and all later ones run.
_OPSET = 18
# Two runtimes sum in another order. Relative to the largest feature: ResNet18 differs by 1e-6,
# and a wrong operator (bilinear for antialiased, say) by 1e-2.
ONNX_TOLERANCE = 1e-4
_BATCHES = (1, 2, 5)
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class _FromReflectance(nn.Module):
    """The network with its standardization in front, which users of ONNX have no code for."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.backbone = encoder.backbone
        self.register_buffer("mean", encoder.mean)
        self.register_buffer("std", encoder.std)

    def forward(self, reflectance: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.backbone(s2.standardize(reflectance, self.mean, self.std))
        return features


def export_onnx(model: Encoder | ModelSource, path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a model as one ONNX file.

    Its input `reflectance` (B, C, H, W) float32 is reflectance (DN / 10000, the +1000 offset of
    baseline >= 04.00 removed) of the model's bands: standardizing is part of the graph. Its output
    `features` (B, D) is not normalized. B is free, and H and W are too where the architecture
    allows. The file's metadata holds, under `georank`, a JSON document: bands, unit, means, stds,
    image size, model.

    Before the file gets its name, onnxruntime runs it on several batch sizes (and image sizes)
    and its features are compared with torch's.

    Args:
        model: An encoder, which is not changed, or what `create_model` takes.
        path: File to write, `.onnx`.
        overwrite: Replace an existing file.

    Returns:
        The path.

    Raises:
        UsageError: If the file exists or its name ends otherwise, or a package is missing.
        ModelError: If the model cannot be written as ONNX, or gives other features.
        GeorankError: If the disk is full, or another process writes the file.
    """
    require_packages()
    path = Path(path)
    if path.suffix != ONNX_SUFFIX:
        raise UsageError(f"{path} must end in {ONNX_SUFFIX}.")
    with output_lock(path) as taken:
        if path.exists() and (path.is_dir() or not (overwrite or taken.finished)):
            raise UsageError(f"{path} exists. Pass --overwrite to replace it.")
        encoder = copy.deepcopy(as_encoder(model)).cpu().float().eval()
        with new_file(path) as temporary:
            temporary.write_bytes(_serialized(encoder))
            check_onnx(temporary, encoder)
    logger.info("Exported %s; onnxruntime gives torch's features.", path)
    return path


def onnx_facts(path: str | Path) -> dict[str, Any]:
    """What `export_onnx` wrote into a file's metadata: bands, unit, means, stds, image size, model.

    Args:
        path: The file.
    """
    import onnx

    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return dict(json.loads(properties["georank"]))


def require_packages() -> None:
    """Refuses to begin without what ONNX needs.

    Raises:
        UsageError: Says what is missing, and what to type.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"ONNX needs {', '.join(missing)}, not installed here: pip install 'georank-zoo[onnx]'"
        )


def check_onnx(path: Path, encoder: Encoder) -> None:
    """Compares an ONNX file with the model in torch.

    Raises:
        ModelError: If a feature differs by more than `ONNX_TOLERANCE` of the largest.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    module = _FromReflectance(encoder).eval()
    for batch, size in _trials(encoder):
        images = _images(encoder, batch, size)
        (found,) = session.run([OUTPUT], {INPUT: images.numpy()})
        with torch.inference_mode():
            expected = module(images).numpy()
        difference = float(np.abs(found - expected).max() / np.abs(expected).max())
        # Written so that NaN fails too.
        if not difference <= ONNX_TOLERANCE:
            raise ModelError(
                f"onnxruntime {onnxruntime.__version__} gives other features than torch: they "
                f"differ by {difference:.1e} of the largest (accepted: {ONNX_TOLERANCE:g}) at "
                f"{batch} images of {size} px. Nothing was exported."
            )
        logger.info("%d images of %d px: largest difference %.1e.", batch, size, difference)


def _trials(encoder: Encoder) -> Iterator[tuple[int, int]]:
    for batch in _BATCHES:
        yield batch, encoder.image_size
    if not _fixed(encoder):
        yield 2, 2 * encoder.image_size
        yield 3, encoder.image_size + 8


def _fixed(encoder: Encoder) -> bool:
    return encoder.config is None or has_fixed_size(encoder.config.architecture)


def _images(encoder: Encoder, batch: int, size: int) -> torch.Tensor:
    """Reflectance like the training data's: random, of the bands' means and deviations."""
    noise = torch.randn(
        (batch, len(encoder.model_bands), size, size), generator=torch.Generator().manual_seed(0)
    )
    return noise * encoder.std[:, None, None] + encoder.mean[:, None, None]


def _serialized(encoder: Encoder) -> bytes:
    shapes: dict[int, Any] = {0: torch.export.Dim.DYNAMIC}
    if not _fixed(encoder):
        shapes |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    try:
        with _quiet():
            program = torch.onnx.export(
                _FromReflectance(encoder).eval(),
                (_images(encoder, 2, encoder.image_size),),
                dynamo=True,
                opset_version=_OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={"reflectance": shapes},
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"torch {torch.__version__} cannot write {encoder.name} as ONNX: {reason}"
        ) from error
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key="georank", value=json.dumps(_facts(encoder)))
    _name_dimensions(model.graph)
    return bytes(model.SerializeToString())


def _name_dimensions(graph: Any) -> None:
    """Names the free dimensions, which torch calls s97 and the like."""
    free = [dim.dim_param for dim in graph.input[0].type.tensor_type.shape.dim]
    names = {
        old: new for old, new in zip(free, ("batch", "", "height", "width"), strict=True) if old
    }
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                # Within the network they are expressions.
                dim.dim_param = re.sub(r"\w+", lambda m: names.get(m[0], m[0]), dim.dim_param)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's own progress off the screen; its failures are errors all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)


def _facts(encoder: Encoder) -> dict[str, Any]:
    config = encoder.config
    return {
        "format": ONNX_FORMAT,
        "model": encoder.name,
        "model_hash": encoder.model_hash,
        "recipe": config.recipe if config else "",
        "bands": list(encoder.model_bands),
        "unit": "reflectance",
        "standardized_in_graph": True,
        "mean": list(config.mean) if config else encoder.mean.tolist(),
        "std": list(config.std) if config else encoder.std.tolist(),
        "image_size": encoder.image_size,
    }

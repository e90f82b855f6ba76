"""Ways in which a model folder may be hostile or broken: what is done to it, and the reason given.

Each entry takes a good export, spoils it, and names a part of the sentence that must refuse it. A
payload that could run would make a folder called `MARK` beside the model.
"""
# ruff: noqa: E501 - the tables have one case a line

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.support.models import edit_config

MARK = "code-was-run"

Spoil = Callable[[Path], object]


class Bomb:
    """Unpickling it makes the folder `MARK`."""

    def __init__(self, folder: Path) -> None:
        self.mark = str(folder.parent / MARK)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def _config(**changes: Any) -> Spoil:
    return partial(edit_config, **changes)


def _text(change: Callable[[str], str | bytes]) -> Spoil:
    """Changes the characters of the config."""

    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        new = change(path.read_text())
        path.write_bytes(new if isinstance(new, bytes) else new.encode())

    return spoil


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    """Changes the tensors of the weights."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return spoil


def _header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Changes what the header of the weights says; the tensors' bytes stay."""

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    return spoil


def _weights(make: Callable[[Path], bytes]) -> Spoil:
    return lambda folder: (folder / "model.safetensors").write_bytes(make(folder))


def _pickled(folder: Path) -> bytes:
    return pickle.dumps(Bomb(folder))


def _zipped(folder: Path) -> bytes:
    file = io.BytesIO()
    torch.save({"conv1.0.weight": Bomb(folder)}, file)
    assert zipfile.is_zipfile(file)
    return file.getvalue()


def _beside(name: str, *, alone: bool = False, **changes: Any) -> Spoil:
    """Adds a pickle."""

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(_pickled(folder))
        edit_config(folder, **changes)
        if alone:
            (folder / "model.safetensors").unlink()

    return spoil


def _linked(name: str) -> Spoil:
    """Moves a file out of the folder and leaves a link to it."""

    def spoil(folder: Path) -> None:
        outside = folder.parent / f"outside-{name}"
        (folder / name).rename(outside)
        (folder / name).symlink_to(Path("..") / outside.name)

    return spoil


def _sparse(folder: Path) -> None:
    # 64 GiB that take no place on the disk, in a file that is consistent in itself.
    size = 64 * 2**30
    header = json.dumps(
        {"conv1.0.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    ).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + size)


def _set(name: str, value: float) -> Spoil:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[3] = value

    return _tensors(change)


def _cast(name: str, dtype: torch.dtype) -> Spoil:
    return _tensors(lambda tensors: tensors.update({name: tensors[name].to(dtype)}))


def _add(name: str, tensor: torch.Tensor) -> Spoil:
    return _tensors(lambda tensors: tensors.update({name: tensor}))


_IMPORT = "__import__('os').mkdir('code-was-run')"
_ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"

# Each is refused for the same reason wherever the folder lies: here or on the Hub.
HOSTILE: dict[str, tuple[Spoil, str]] = {
    # Weights from elsewhere, and code.
    "filename-pickle": (_beside("evil.bin", pretrained_cfg__hf_hub_filename="evil.bin"), "'hf_hub_filename' points to other"),
    "filename-traversal": (_config(pretrained_cfg__hf_hub_filename="../../evil.bin"), "'hf_hub_filename' points to other"),
    "filename-outside-cfg": (_config(hf_hub_filename="evil.bin"), "'hf_hub_filename' points to other"),
    "hub-id": (_config(pretrained_cfg__hf_hub_id="evil/model"), "'hf_hub_id' points to other"),
    "custom-load": (_config(pretrained_cfg__custom_load=True), "'custom_load' points to other"),
    "custom-load-hf": (_config(pretrained_cfg__custom_load="hf"), "'custom_load' points to other"),
    "file": (_config(pretrained_cfg__file="/etc/passwd"), "'file' points to other"),
    "url": (_config(pretrained_cfg__url="http://127.0.0.1/evil.pth"), "'url' points to other"),
    "state-dict": (_config(pretrained_cfg__state_dict={"conv1.0.weight": [0]}), "'state_dict' points to other"),
    "source": (_config(pretrained_cfg__source="local-dir"), "'source' points to other"),
    "checkpoint-path": (_config(model_args__checkpoint_path="evil.pth"), "'checkpoint_path' points to other"),
    "overlay": (_config(model_args__pretrained_cfg_overlay={"url": "x"}), "'pretrained_cfg_overlay' points to other"),
    "model-args-unknown": (_config(model_args__block=_IMPORT), "model_args has block"),
    "model-args-escape": (_config(**{f"model_args__{_ESCAPE}": 1}), r"model_args has \x1b]0;owned\x07"),
    # The architecture.
    "architecture-unknown": (_config(architecture="resnet18b"), "Unknown timm architecture"),
    "architecture-code": (_config(architecture=_IMPORT), "Unknown timm architecture"),
    "architecture-path": (_config(architecture="../../resnet18"), "Unknown timm architecture"),
    "architecture-hub": (_config(architecture="hf-hub:evil/model"), "Unknown timm architecture"),
    "architecture-local": (_config(architecture="local-dir:/tmp/evil"), "Unknown timm architecture"),
    "architecture-tag": (_config(architecture="resnet18.a1_in1k"), "Unknown timm architecture"),
    "architecture-number": (_config(architecture=7), "Unknown timm architecture"),
    "architecture-long": (_config(architecture="r" * 500_000), "Unknown timm architecture"),
    "architecture-escape": (_config(architecture=_ESCAPE), r"Unknown timm architecture '\x1b"),
    "architecture-other": (_config(architecture="test_convnext"), "is missing"),
    # What would take all memory, or all time.
    "in-chans-absurd": (_config(model_args__in_chans=10**9), "1000000000 input channels"),
    "classes-absurd": (_config(model_args__num_classes=10**9), "num_classes is 1000000000"),
    "classes-in-cfg": (_config(pretrained_cfg__num_classes=10**9), "num_classes is 1000000000"),
    "classes-on-top": (_config(num_classes=10), "num_classes is 10)"),
    "image-size-absurd": (_config(pretrained_cfg__input_size=[12, 10**9, 10**9]), "input_size"),
    "img-size-absurd": (_config(model_args__img_size=10**9), "img_size must be 1 to 4096"),
    "tables-absurd": (_config(architecture="beit_base_patch16_224", model_args__img_size=4096, pretrained_cfg__input_size=[12, 4096, 4096]), "would take 384 GiB"),
    "network-absurd": (_config(architecture="vit_7b_patch16_dinov3"), "would take 25 GiB"),
    "header-giant": (_weights(lambda _: struct.pack("<Q", 10**15) + b"{}"), "header would have 1000000000000000 bytes"),
    "header-overflow": (_weights(lambda _: struct.pack("<Q", 2**64 - 1) + b"{}"), "header would have 18446744073709551615 bytes"),
    "header-short": (_weights(lambda _: b"\x02"), "is damaged"),
    "header-large": (_weights(lambda _: struct.pack("<Q", 5 * 2**20) + b"{}" + b" " * (5 * 2**20 - 2)), "header would have 5242880 bytes"),
    # The config as a file.
    "config-huge": (_text(lambda text: text + " " * 2**20), "bytes"),
    "config-deep": (_text(lambda _: '{"a":' * 100_000), "not valid JSON"),
    "config-doubled": (_text(lambda text: text.replace('"architecture"', '"architecture": "resnet50", "architecture"', 1)), "'architecture' stands twice"),
    "config-doubled-inside": (_text(lambda text: text.replace('"tag"', '"tag": 1, "tag"', 1)), "'tag' stands twice"),
    "config-nested": (_config(georank__recipe=json.loads("[" * 300 + "]" * 300)), "nested deeper than 32 levels"),
    "config-nan": (_config(georank__x=float("nan")), "NaN, which is no number"),
    "config-infinity": (_config(pretrained_cfg__crop_pct=float("inf")), "Infinity, which is no number"),
    "config-overflow": (_text(lambda text: text.replace('"crop_pct": 1.0', '"crop_pct": 1e999', 1)), "pretrained_cfg.crop_pct must be"),
    "config-latin1": (_text(lambda text: text.replace('"test"', '"t\xe9st"', 1).encode("latin-1")), "not valid JSON"),
    "config-bom": (_text(lambda text: "\ufeff" + text), "not valid JSON"),
    "config-utf16": (_text(lambda text: text.encode("utf-16")), "not valid JSON"),
    "config-cut": (_text(lambda text: text[: len(text) // 2]), "not valid JSON"),
    "config-empty": (_text(lambda _: ""), "not valid JSON"),
    "config-pickle": (lambda folder: (folder / "config.json").write_bytes(_pickled(folder)), "not valid JSON"),
    "config-list": (_text(lambda text: f"[{text}]"), "must hold a JSON object"),
    "config-cfg-list": (_config(pretrained_cfg=[]), "'pretrained_cfg' must be an object"),
    "config-args-text": (_config(model_args="in_chans=12"), "'model_args' must be an object"),
    "config-tag-nested": (_config(pretrained_cfg__tag={"a": {}}), "pretrained_cfg.tag must be"),
    "config-pool-list": (_config(model_args__global_pool=["avg"]), "global_pool cannot be"),
    "config-pool-none": (_config(model_args__global_pool=""), "global_pool cannot be"),
    "config-pool-wider": (_config(model_args__global_pool="catavgmax"), "global_pool cannot be"),
    "config-pool-unknown": (_config(model_args__global_pool="nonsense"), "cannot build"),
    "config-dynamic-text": (_config(model_args__dynamic_img_size="yes"), "dynamic_img_size must be"),
    "config-img-size-text": (_config(model_args__img_size="32"), "img_size must be 1 to 4096"),
    "config-img-size-of-cnn": (_config(model_args__img_size=32), "cannot build"),
    # Bands and their statistics.
    "no-georank": (_config(georank=None), "no 'georank.bands'"),
    "no-bands": (_config(georank__bands=None), "'georank.bands' must list"),
    "bands-unknown": (_config(georank__bands=["B77"] * 12), "Unknown band 'B77'"),
    "bands-twice": (_config(georank__bands=["B02"] * 12), "Band given twice: B02"),
    "bands-numbers": (_config(georank__bands=list(range(12))), "'georank.bands' must list"),
    "bands-fewer": (_config(georank__bands=["B02", "B03"]), "12 input channels, but georank.bands names 2"),
    "channels-other": (_config(pretrained_cfg__input_size=[13, 32, 32]), "13 input channels"),
    "size-not-square": (_config(pretrained_cfg__input_size=[12, 32, 64]), "input_size must be"),
    "mean-short": (_config(pretrained_cfg__mean=[0.1] * 11), "mean must be 12 finite"),
    "mean-text": (_config(pretrained_cfg__mean=["0.1"] * 12), "mean must be 12 finite"),
    "mean-thousand-digits": (_config(pretrained_cfg__mean=[10**1000] * 12), "pretrained_cfg.mean must be"),
    "mean-overflow": (_text(lambda text: text.replace('"mean": [', '"mean": [1e999,', 1)), "pretrained_cfg.mean must be"),
    "mean-dn": (_config(pretrained_cfg__mean=[1353.0] * 12), "mean has 1353, which is not a reflectance"),
    "std-dn": (_config(pretrained_cfg__std=[65.0] * 12), "std has 65, which is not a reflectance"),
    "std-zero": (_config(pretrained_cfg__std=[0.0] * 12), "std must be positive"),
    "std-negative": (_config(pretrained_cfg__std=[-0.1] * 12), "std must be positive"),
    "std-denormal": (_config(pretrained_cfg__std=[1e-300] * 12), "std must be at least 1e-12"),
    "std-long": (_config(pretrained_cfg__std=[0.1] * 13), "std must be 12 finite"),
    "unit-dn": (_config(georank__unit="dn"), "georank.unit is 'dn'"),
    "scale-other": (_config(georank__scale=1.0), "georank.scale is 1.0"),
    # The weights as a file.
    "weights-pickle": (_weights(_pickled), "not a safetensors file but a pickle"),
    "weights-zip": (_weights(_zipped), "not a safetensors file but a pickle"),
    "weights-empty": (_weights(lambda _: b""), "is damaged"),
    "weights-cut": (_weights(lambda folder: (folder / "model.safetensors").read_bytes()[:-1]), "is damaged"),
    "weights-longer": (_weights(lambda folder: (folder / "model.safetensors").read_bytes() + b"\0"), "is damaged"),
    "header-list": (_weights(lambda _: struct.pack("<Q", 2) + b"[]"), "is damaged"),
    "header-none": (_weights(lambda _: struct.pack("<Q", 2) + b"{}"), "is missing"),
    "header-dtype-escape": (_header(lambda header: header["conv1.1.bias"].update(dtype=_ESCAPE)), r"is damaged"),
    "offsets-beyond": (_header(lambda header: header["conv1.0.weight"].update(data_offsets=[0, 2**60])), "is damaged"),
    "offsets-reversed": (_header(lambda header: header["conv1.0.weight"]["data_offsets"].reverse()), "is damaged"),
    "offsets-overlapping": (_header(lambda header: header.update({"conv1.1.weight": header["conv1.1.bias"]})), "is damaged"),
    "shape-overflow": (_header(lambda header: header["conv1.0.weight"].update(shape=[2**62, 2**62])), "is damaged"),
    "shape-lie": (_header(lambda header: header["conv1.1.bias"].update(shape=[1])), "is damaged"),
    # The tensors.
    "tensor-missing": (_tensors(lambda tensors: tensors.pop("conv1.0.weight")), "is missing 1 tensor(s): conv1.0.weight"),
    "tensor-additional": (_add("fc.weight", torch.zeros(1)), "unexpected 1 tensor(s): fc.weight"),
    "tensor-traversal": (_add("../../evil", torch.zeros(1)), "unexpected 1 tensor(s): ../../evil"),
    "tensor-escape": (_add(_ESCAPE, torch.zeros(1)), r"unexpected 1 tensor(s): \x1b]0;owned"),
    "tensor-name-long": (_add("a" * 100_000, torch.zeros(1)), "unexpected 1 tensor(s): aaaa"),
    "tensor-shape": (_add("conv1.0.weight", torch.zeros(24, 3, 3, 3)), "conv1.0.weight has shape [24, 3, 3, 3]"),
    "tensor-transposed": (_tensors(lambda tensors: tensors.update({"conv1.0.weight": tensors["conv1.0.weight"].transpose(0, 1).contiguous()})), "conv1.0.weight has shape"),
    "tensor-float64": (_cast("conv1.1.bias", torch.float64), "conv1.1.bias is torch.float64, not"),
    "tensor-float16": (_cast("conv1.1.bias", torch.float16), "conv1.1.bias is torch.float16, not"),
    "tensor-int": (_cast("conv1.1.bias", torch.int32), "conv1.1.bias is torch.int32, not"),
    "tensor-complex": (_cast("conv1.1.bias", torch.complex64), "conv1.1.bias is C64, not"),
    "tensor-nan": (_set("conv1.1.running_var", float("nan")), "NaN or infinite weights, the first is conv1.1.running_var"),
    "tensor-inf": (_set("conv1.0.weight", float("-inf")), "NaN or infinite weights, the first is conv1.0.weight"),
    "tensor-variance": (_set("conv1.1.running_var", -1.0), "conv1.1.running_var is a variance, but holds -1"),
}  # fmt: skip

# The Hub's client asks for two files by name and gets their content, so these are of folders only.
HOSTILE_FOLDERS: dict[str, tuple[Spoil, str]] = {
    "pickle-alone-bin": (_beside("pytorch_model.bin", alone=True), "only as a pickle (pytorch_model.bin)"),
    "pickle-alone-pth": (_beside("model.PTH", alone=True), "only as a pickle (model.PTH)"),
    "pickle-beside-bin": (_beside("pytorch_model.bin"), "a pickle next to model.safetensors (pytorch_model.bin)"),
    "pickle-beside-tar": (_beside("evil.pth.tar"), "a pickle next to model.safetensors (evil.pth.tar)"),
    "pickle-beside-escape": (_beside(f"{_ESCAPE}.pt"), r"a pickle next to model.safetensors (\x1b]0;owned"),
    "link-to-config": (_linked("config.json"), "config.json is a link that leads out of the folder"),
    "link-to-weights": (_linked("model.safetensors"), "model.safetensors is a link that leads out of the folder"),
    "weights-sparse": (_sparse, "has 68719476838 bytes, but at most"),
}  # fmt: skip

# What a pull from the Hub refuses before the weights come, with the reason given there.
HOSTILE_ON_THE_HUB: dict[str, tuple[Spoil, str]] = {
    "pickle-alone-on-the-hub": (_beside("pytorch_model.bin", alone=True), "has no model.safetensors"),
    "weights-larger-than-the-network": (_add("big", torch.zeros(6 * 2**18)), "bytes, but at most"),
    "config-larger-than-any": (_text(lambda text: text + " " * 2**20), "It was not downloaded"),
}  # fmt: skip

"""What an installation holds."""

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import georank_zoo

ROOT = Path(__file__).parents[1]


def test_public_names() -> None:
    assert dir(georank_zoo) == sorted(georank_zoo.__all__)
    for name in georank_zoo.__all__:
        assert getattr(georank_zoo, name) is not None
    # Resolving a name imports modules, which Python makes attributes of the package.
    assert dir(georank_zoo) == sorted(georank_zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = georank_zoo.nope


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, georank_zoo; sys.exit(bool({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_entry_point() -> None:
    (script,) = entry_points(group="console_scripts", name="georank")
    assert callable(script.load())


@pytest.mark.slow
def test_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names if "dist-info" not in name}
    assert tops == {"georank_zoo", "georank_cli", "georank_recipes", "georank_model_cards"}
    shipped = {f"georank_recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "georank_zoo").rglob("*.py")}
    cards = {path for path in (ROOT / "model_cards").iterdir() if path.is_file()}
    shipped |= {f"georank_model_cards/{path.name}" for path in cards}
    assert shipped | modules | {"georank_zoo/py.typed", "georank_cli/main.py"} <= names
    assert any(name.endswith("LICENSE") for name in names)

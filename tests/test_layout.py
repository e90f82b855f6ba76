"""The house: imports run one way, nothing new stands in the root, and there is no circle."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import georank_zoo

ROOT = Path(georank_zoo.__file__).parent
# Each floor may import those below it, and its own as long as no circle arises.
FLOORS = (
    "utils",
    "bands geo views",
    "data models losses",
    "embed algorithms",
    "eval",
    "training",
    "publish demo health",
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Modules of ours that a file imports, at its head or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("georank_zoo"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("georank_zoo")}
    return found


FILES = [path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__"]
MODULES = {name_of(path) for path in FILES}
IMPORTS = {name_of(path): imports_of(path) - {"georank_zoo"} for path in FILES}


def test_each_room_has_its_floor() -> None:
    assert {name.split(".")[1] for name in MODULES} == set(FLOOR)


def test_imports_run_one_way() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if FLOOR[other.split(".")[1]] > FLOOR[module.split(".")[1]]
    ]
    assert not wrong


def test_no_circle_of_rooms_and_none_of_modules() -> None:
    rooms: dict[str, set[str]] = {room: set() for room in FLOOR}
    for module, others in IMPORTS.items():
        rooms[module.split(".")[1]] |= {other.split(".")[1] for other in others}
    for graph in (rooms, IMPORTS):
        tuple(TopologicalSorter({k: v - {k} for k, v in graph.items()}).static_order())


def test_the_wheel_names_every_package() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    named = {p for p in project["tool"]["setuptools"]["packages"] if p.startswith("georank_zoo")}
    assert named == {name_of(path) for path in ROOT.rglob("__init__.py")}


def test_a_public_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            else:
                continue
            for name in names:
                homes.setdefault(name, []).append(name_of(path))
    shared = {"logger"}  # each module's own, by custom
    twice = {
        name: found
        for name, found in homes.items()
        if len(found) > 1 and not name.startswith("_") and name not in shared
    }
    assert not twice

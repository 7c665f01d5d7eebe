"""The arrows of the house, which are the imports between its files, and that files and functions are short. Nothing is
imported that is looked at."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

PACKAGE, OUTSIDE = "mindiffusion", ("experiments", "benchmarks")
FLOORS = (
    ("scripts",),
    ("training", "sharing"),
    ("reports", "evaluation"),
    ("checkpoints",),
    ("config",),
    ("science",),
    ("data",),
    ("runtime",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.py"), *(path for top in (PACKAGE, *OUTSIDE) for path in (ROOT / top).rglob("*.py")))
)
TREES = {path: ast.parse((ROOT / path).read_text()) for path in FILES}


def room_of(path: Path) -> str:
    """The room of a file: "training", "science" at the top of the package, "scripts" at that of the repository. config,
    which stands among the science, is told what a run is, and knows the data."""
    if len(path.parts) == 1:
        return "scripts"
    if path == Path(PACKAGE, "config.py"):
        return "config"
    if path.parts[0] != PACKAGE:
        return path.parts[0]
    return path.parts[1] if len(path.parts) > 2 else "science"


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere in it: "torch", "mindiffusion.runtime.rng.make_generator"."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> set[tuple[Path, Path]]:
    """(file, file that it imports)."""
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    named = [(path, name) for path in FILES for name in imports(path)]
    found = {(path, modules.get(name) or modules.get(name.rpartition(".")[0])) for path, name in named}
    return {(path, target) for path, target in found if target and target != path}


ARROWS = arrows()


def test_every_room_has_its_floor_and_says_what_lives_in_it():
    assert {room_of(path) for path in FILES} - set(OUTSIDE) == set(FLOOR)
    for room in sorted(set(FLOOR) - {"scripts", "science", "config"}):
        text = (ROOT / PACKAGE / room / "__init__.py").read_text()
        assert text.startswith('"""') and text.endswith('"""\n') and text.count("\n") >= 4, room


def test_arrows_run_downwards_only():
    inner = [(a, b) for a, b in ARROWS if a.parts[0] not in OUTSIDE and room_of(a) != room_of(b)]
    assert [f"{a} imports {b}" for a, b in inner if FLOOR[room_of(a)] >= FLOOR[room_of(b)]] == []
    assert {room_of(a) for a, _ in inner} >= {"scripts", "training", "sharing", "reports", "checkpoints", "data"}


def test_no_two_files_import_each_other_not_even_in_a_circle():
    graph = graphlib.TopologicalSorter()
    for path, target in ARROWS:
        graph.add(path, target)
    graph.prepare()


def test_the_science_imports_torch_and_runtime_alone():
    allowed = {"torch", *sys.stdlib_module_names}
    science = [path for path in FILES if room_of(path) == "science"]
    assert len(science) > 8
    for path in science:
        assert {name.split(".")[0] for name in imports(path)} <= allowed | {PACKAGE}, path
    assert {room_of(b) for a, b in ARROWS if a in science} == {"science", "runtime"}


def test_the_package_knows_nothing_of_what_is_outside():
    outside = {"tests", *OUTSIDE}
    inside = [path for path in FILES if path.parts[0] == PACKAGE]
    assert [path for path in inside for name in imports(path) if name.split(".")[0] in outside] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path):
    assert len((ROOT / path).read_text().splitlines()) < 300
    functions = (node for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    assert [node.name for node in functions if node.end_lineno - node.lineno >= 60] == []

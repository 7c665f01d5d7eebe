"""The arrows of the house, and that docs/architecture.md names rooms, files and functions that are there."""

import graphlib
import re
import sys
from pathlib import Path

import pytest
from house import OUTSIDE, PACKAGE, ROOT, SCIENCE, SCRIPTS, arrows, functions, imports, room_of, source_files

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
FILES = source_files()
ARROWS = arrows()
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def place(path: Path) -> str:
    """The room of a file; config, which stands among the science, is told what a run is, and knows the data."""
    return "config" if path == Path(PACKAGE, "config.py") else room_of(path)


def words(pairs) -> list[str]:
    return [f"{a} imports {b}" for a, b in pairs]


def test_every_room_has_its_floor_and_says_what_lives_in_it():
    rooms = {place(path) for path in FILES} - set(OUTSIDE)
    assert rooms == set(FLOOR)
    for room in sorted(rooms - {SCRIPTS, SCIENCE, "config"}):
        text = (ROOT / PACKAGE / room / "__init__.py").read_text()
        assert text.startswith('"""') and text.endswith('"""\n') and text.count("\n") >= 4, room


def test_arrows_run_downwards_only():
    inner = [(a, b) for a, b in ARROWS if a.parts[0] not in OUTSIDE and place(a) != place(b)]
    assert words((a, b) for a, b in inner if FLOOR[place(a)] >= FLOOR[place(b)]) == []
    assert {place(a) for a, _ in inner} >= {"scripts", "training", "sharing", "reports", "checkpoints", "data"}


def test_no_two_files_import_each_other_not_even_in_a_circle():
    graph = graphlib.TopologicalSorter()
    for path, target in ARROWS:
        graph.add(path, target)
    graph.prepare()


def test_the_science_imports_torch_and_runtime_alone():
    allowed = {"torch", *sys.stdlib_module_names}
    science = [path for path in FILES if place(path) == SCIENCE]
    assert len(science) > 8
    for path in science:
        assert {name.split(".")[0] for name in imports(path)} <= allowed | {PACKAGE}, path
    assert {place(b) for a, b in ARROWS if a in science} == {SCIENCE, "runtime"}


def test_the_package_knows_nothing_of_what_is_outside():
    outside = {"tests", *OUTSIDE}
    inside = [path for path in FILES if path.parts[0] == PACKAGE]
    assert [path for path in inside for name in imports(path) if name.split(".")[0] in outside] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path):
    assert len((ROOT / path).read_text().splitlines()) < 300
    assert {name: length for name, length in functions(path) if length > 60} == {}


def test_the_page_names_every_room_and_sends_readers_to_files_that_exist():
    stems = {path.stem for path in FILES} | set(FLOOR)
    floors, table = (PAGE.split(f"## {heading}\n")[1] for heading in ("Floors", "Where to begin, and what to mind"))
    assert [room for room in FLOOR if f"{room} " not in floors.split("\n## ")[0]] == []
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")][1:]
    named = {name for cell in cells for name in re.findall(r"`([a-z0-9_]+)`", cell)}
    assert len(named) > 15 and named <= stems


def test_the_functions_in_the_pictures_of_the_page_are_there():
    there = {(path.stem, name) for path in FILES for name, _ in functions(path)}
    stems = {stem for stem, _ in there}
    pictures = re.sub(r"\.(py|csv)\b", "", "".join(PAGE.split("```")[3::2]))
    drawn = {pair for pair in re.findall(r"\b([a-z0-9_]+)\.([a-z_]+)\b", pictures) if pair[0] in stems}
    assert len(drawn) > 15 and drawn - there == set()

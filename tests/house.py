"""python tests/house.py

Counts the house: files per room, the longest file and function, and the arrows, which are the imports between files.
The tests of the architecture read the arrows from here. Standard library alone: nothing is imported that is counted.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "mindiffusion"
SCIENCE = "science"  # the files at the top of the package
SCRIPTS = "scripts"  # the files at the top of the repository
OUTSIDE = ("experiments", "benchmarks")


def source_files(root: Path = ROOT) -> list[Path]:
    """Every script and module, relative to ``root``; no tests."""
    found = [*root.glob("*.py"), *(path for top in (PACKAGE, *OUTSIDE) for path in (root / top).rglob("*.py"))]
    return sorted(path.relative_to(root) for path in found)


def room_of(path: Path) -> str:
    """The room of a file: "training", SCIENCE, SCRIPTS, "experiments", ..."""
    if len(path.parts) == 1:
        return SCRIPTS
    if path.parts[0] != PACKAGE:
        return path.parts[0]
    return path.parts[1] if len(path.parts) > 2 else SCIENCE


def imports(path: Path, root: Path = ROOT) -> Iterator[str]:
    """The dotted names that a file imports anywhere in it: "torch", "mindiffusion.runtime.rng.make_generator"."""
    for node in ast.walk(ast.parse((root / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = ".".join(path.parent.parts[: len(path.parent.parts) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (folder, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def arrows(root: Path = ROOT) -> list[tuple[Path, Path]]:
    """(file, file that it imports), each pair once."""
    files = {_module_name(path): path for path in source_files(root)}
    found = set()
    for path in files.values():
        for name in imports(path, root):
            named = (name, name.rpartition(".")[0])
            beside = [".".join((*path.parent.parts, each)) for each in named if each]  # as scripts of one folder do
            for target in (*named, *(beside if path.parts[0] != PACKAGE else ())):
                if target in files and files[target] != path:
                    found.add((path, files[target]))
                    break
    return sorted(found)


def functions(path: Path, root: Path = ROOT) -> Iterator[tuple[str, int]]:
    """The name and the length in lines of every function and method."""
    for node in ast.walk(ast.parse((root / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def main(root: Path) -> None:
    """Print the counts; those of the arrows for the package alone, and for all."""
    files = source_files(root)
    package = [path for path in files if path.parts[0] == PACKAGE]
    pairs = arrows(root)
    inside = [pair for pair in pairs if pair[0].parts[0] == PACKAGE]
    for room, count in sorted(Counter(room_of(path) for path in files).items()):
        print(f"{room:<14}{count:>4} files")
    lines = {path: len((root / path).read_text().splitlines()) for path in files}
    longest = max(package, key=lambda path: lines[path])
    name, length = max((item for path in package for item in functions(path, root)), key=lambda item: item[1])
    between = {(room_of(a), room_of(b)) for a, b in inside if room_of(a) != room_of(b)}
    print(
        f"package: {len(package)} files, longest {longest} ({lines[longest]} lines), longest function {name} ({length})"
    )
    print(f"arrows: {len(inside)} between files of the package, {len(between)} between its rooms, {len(pairs)} in all")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT)

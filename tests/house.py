"""The house as its source says it: files, functions, and the arrows, which are the imports between files.

Standard library alone: nothing is imported that is looked at.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "mindiffusion"
SCIENCE = "science"  # the files at the top of the package
SCRIPTS = "scripts"  # the files at the top of the repository
OUTSIDE = ("experiments", "benchmarks")


def source_files() -> list[Path]:
    """Every script and module, relative to ROOT; no tests."""
    found = [*ROOT.glob("*.py"), *(path for top in (PACKAGE, *OUTSIDE) for path in (ROOT / top).rglob("*.py"))]
    return sorted(path.relative_to(ROOT) for path in found)


def room_of(path: Path) -> str:
    """The room of a file: "training", SCIENCE, SCRIPTS, "experiments", ..."""
    if len(path.parts) == 1:
        return SCRIPTS
    if path.parts[0] != PACKAGE:
        return path.parts[0]
    return path.parts[1] if len(path.parts) > 2 else SCIENCE


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports anywhere in it: "torch", "mindiffusion.runtime.rng.make_generator"."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> list[tuple[Path, Path]]:
    """(file, file that it imports), each pair once."""
    files = {_module_name(path): path for path in source_files()}
    named = {
        (path, files.get(name) or files.get(name.rpartition(".")[0]))
        for path in files.values()
        for name in imports(path)
    }
    return sorted((path, target) for path, target in named if target and target != path)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The name and the length in lines of every function and method."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

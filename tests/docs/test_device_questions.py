"""On a GPU a question for a number waits until all work before it is done; so none may stand in a step."""

import ast

import pytest
from helpers import ROOT

METHODS = {"item", "tolist", "cpu", "numpy", "nonzero", "all", "any"}
FUNCTIONS = {"float", "int", "bool"}
STEP = {"unet.py", "reg_unet.py", "preconditioned_unet.py", "curriculum_ddpm.py", "soft_curriculum_ddpm.py", "ddpm.py"}
STEP |= {"training/step.py", "training/ema.py", "training/run.py", "training/loop.py"}


def asking_functions(source: str) -> set[str]:
    """The functions and methods in which something may ask."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if any(isinstance(n, ast.Call) and asks(n) for n in ast.walk(f))}


def asks(node: ast.Call) -> bool:
    """Whether it is x.tolist() and the like, any(x), or float(x) of anything but a literal."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in METHODS
    known = not node.args or isinstance(node.args[0], ast.Constant | ast.GeneratorExp)
    return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not known


@pytest.mark.parametrize("name", sorted(STEP))
def test_nothing_in_a_step_asks_the_device_for_a_number(name):
    assert asking_functions((ROOT / "mindiffusion" / name).read_text()) == set()


def test_questions_are_found():
    for question in ("x.sum().item()", "float(x.mean())", "x.cpu()", "bool(x > 0)", "(x > 0).all()"):
        assert asking_functions(f"def f(x):\n    return {question}") == {"f"}
    assert asking_functions("def f(x):\n    return float('nan'), x.float(), x.to('cuda')") == set()

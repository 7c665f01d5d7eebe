"""python experiments/launch.py train_celeba_cr_32 --set LAMBDA_MAX=1e-3 --set 'PENALTY_METHOD="proximal"' -- FLAGS

Run a training script with some of its constants replaced, everything else being the script itself. A value is a Python
expression, put in the place of the one in the script before it runs, so that constants computed from it follow
(LAMBDA_SCHEDULE follows LAMBDA_MAX). What comes after -- are the script's flags. Works under torchrun too.
"""

import argparse
import ast
import sys
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from mindiffusion.runtime.errors import UserError, run_script  # noqa: E402


def compile_with(script: Path, constants: dict[str, str]) -> CodeType:
    """The code of ``script`` with the values of top-level ``constants`` replaced by the given expressions.

    UserError for a name that the script does not assign, or an expression that is none.
    """
    tree = ast.parse(script.read_text(), str(script))
    left = dict(constants)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in left:
            expression = left.pop(node.targets[0].id)
            try:
                node.value = ast.copy_location(ast.parse(expression, mode="eval").body, node.value)
            except SyntaxError as error:
                raise UserError(f"{node.targets[0].id} = {expression} is no Python expression: {error.msg}.") from error
    if left:
        raise UserError(f"{script.name} has no constant {', '.join(left)}.")
    return compile(ast.fix_missing_locations(tree), str(script), "exec")


def main() -> None:
    """Split the command line, replace the constants, run the script's main with its flags."""
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, flags = sys.argv[1:cut], sys.argv[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", help="name of a training script, without .py")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=EXPRESSION", help="may be repeated")
    args = parser.parse_args(own)
    script = ROOT / f"{args.script}.py"
    if not script.is_file():
        raise UserError(f"there is no training script {script}.")
    if wrong := [each for each in args.set if "=" not in each]:
        raise UserError(f"--set {wrong[0]}: write NAME=EXPRESSION.")
    code = compile_with(script, dict(each.split("=", 1) for each in args.set))
    sys.argv = [script.name, *flags]
    namespace = {"__name__": "launched", "__file__": str(script)}
    exec(code, namespace)
    namespace["main"]()


if __name__ == "__main__":
    run_script(main)

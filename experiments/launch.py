"""python -m experiments.launch train_celeba_cr_32 --set LAMBDA_MAX=1e-3 --set PENALTY_METHOD=proximal -- FLAGS

Run a training script with some of its constants replaced, everything else being the script itself. A value is plain
text where the script's is text, else JSON: 0.001, or [0.8, 0.8, 0.8, 0.8, 0.8] for a schedule; a stage of STAGES is
[t_min, t_max, "name", epochs]. What comes after -- are the script's flags. With several processes:
`torchrun --nproc_per_node=4 -m experiments.launch ...`.
"""

import argparse
import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

from mindiffusion.config import Stage
from mindiffusion.runtime.errors import UserError, run_script


def load_script(name: str) -> ModuleType:
    """A training script as a fresh module, whose main is not called: "train_celeba_c_32", or
    "experiments.train_weighted_32". UserError if it is none."""
    found = importlib.util.find_spec(name) if name.split(".")[-1].startswith("train_") else None
    if found is None or found.loader is None:
        raise UserError(f"there is no training script {name}: name one without .py, from the repository's folder.")
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    return script


def replace_constants(script: ModuleType, values: dict[str, Any]) -> None:
    """Set constants of a loaded script, before its main reads them. Values are those of JSON; each must be of the kind
    that the script has there. UserError for a name that the script does not have, or a value of another kind."""
    for name, value in values.items():
        if not name.isupper() or not hasattr(script, name):
            raise UserError(f"{script.__name__} has no constant {name}.")
        setattr(script, name, _as_before(name, value, getattr(script, name)))


def _as_before(name: str, value: Any, before: Any) -> Any:
    """``value`` in the type of ``before``: a list in JSON is a tuple, or a stage, where the script has one."""
    if isinstance(before, Stage) and isinstance(value, list) and len(value) == 4:
        return Stage(*value)
    if isinstance(before, list | tuple) and isinstance(value, list) and value:
        return type(before)(_as_before(name, each, before[0]) for each in value)
    if isinstance(before, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(before) is type(value) and isinstance(value, str | int):
        return value
    raise UserError(f"{name} is {before!r} in the script; {value!r} is of another kind.")


def read_settings(script: ModuleType, settings: list[str]) -> dict[str, Any]:
    """NAME=VALUE, from the command line, as values. UserError for what cannot be read."""
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: write NAME=VALUE.")
        try:
            values[name] = text if isinstance(getattr(script, name, None), str) else json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"--set {setting}: {text} is no JSON ({error.msg}).") from error
    return values


def main(argv: list[str] | None = None) -> None:
    """Split the command line, replace the constants, run the script's main with its flags."""
    argv = sys.argv[1:] if argv is None else argv
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", help="name of a training script, without .py")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    args = parser.parse_args(argv[:cut])
    script = load_script(args.script)
    replace_constants(script, read_settings(script, args.set))
    sys.argv = [f"{args.script}.py", *argv[cut + 1 :]]
    script.main()


if __name__ == "__main__":
    run_script(main)

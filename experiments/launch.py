"""python -m experiments.launch train_celeba_cs_32 --set CONSTANTS.regrowth=random --set STAGES.sparsity=[1,0,0,0,0]

Run a training script with some of its constants replaced, everything else being the script itself. A value is plain
text where the script's is text, else JSON. STAGES.sparsity is the sparsity of all stages; a stage of STAGES itself is
[t_min, t_max, "name", epochs]. What comes after -- are the script's flags. With several processes:
`torchrun --nproc_per_node=4 -m experiments.launch ...`.
"""

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

from experiments.tables import ROOT
from mindiffusion.runtime.command_line import CommandLine, did_you_mean, run_script
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.signals import Stopped
from mindiffusion.runtime.terminal import command
from mindiffusion.stages import Stage


def load_script(name: str) -> ModuleType:
    """A training script, "train_celeba_c_32", as a fresh module, whose main is not called. UserError if it is none."""
    found = importlib.util.find_spec(name) if name.startswith("train_") else None
    if found is None or found.loader is None:
        near = did_you_mean(name, [path.stem for path in ROOT.glob("train_*.py")])
        raise UserError(
            f"there is no training script {name}: name one without .py, from the repository's folder.{near}"
        )
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    return script


def replace_constants(script: ModuleType, values: dict[str, Any]) -> None:
    """Set constants of a loaded script, before its main reads them. Values are those of JSON; each must be of the kind
    that the script has there. UserError for a name that the script does not have, or a value of another kind."""
    for name, value in values.items():
        top, _, inner = name.partition(".")
        before = getattr(script, top, None) if top.isupper() else None
        if before is None or (inner and inner not in (before if isinstance(before, dict) else before[0].values)):
            raise UserError(f"{script.__name__} has no constant {name}.")
        if top == "STAGES":
            more = {name.partition(".")[2] for name in values}
            new = _with_value(inner, value, before) if inner else _stages(value, before, more)
        else:
            new = (
                {**before, inner: _as_before(name, value, before[inner])} if inner else _as_before(name, value, before)
            )
        setattr(script, top, new)


def _stages(value: Any, before: list[Stage], more: set[str]) -> list[Stage]:
    """Stages of [t_min, t_max, name, epochs]; their other values stay. ``more``: values that are set after this."""
    if not (isinstance(value, list) and value and all(isinstance(each, list) and len(each) == 4 for each in value)):
        raise UserError(f"STAGES is {before!r} in the script; {value!r} is of another kind.")
    stages = []
    for index, (low, high, name, epochs) in enumerate(value):
        values = before[min(index, len(before) - 1)].values
        others = values.keys() - {"t_min", "t_max"} - more
        if others and len(value) != len(before):
            raise UserError(f"set STAGES.{min(others)} too: the script has it for {len(before)} stages.")
        if "t_min" in values:
            values |= {"t_min": float(low), "t_max": float(high)}
        elif (low, high) != (0, 1):
            raise UserError("the script trains all timesteps in every stage: t_min is 0 and t_max 1.")
        stages.append(Stage(name, epochs, **values))
    return stages


def _with_value(name: str, values: Any, before: list[Stage]) -> list[Stage]:
    if not isinstance(values, list) or len(values) != len(before):
        raise UserError(f"STAGES.{name} needs a list of {len(before)} numbers, one per stage.")
    return [Stage(**{**stage.to_dict(), name: value}) for stage, value in zip(before, values, strict=True)]


def _as_before(name: str, value: Any, before: Any) -> Any:
    """``value`` in the type of ``before``: a list in JSON is a tuple where the script has one."""
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
            top, _, inner = name.partition(".")
            before = getattr(script, top, None)
            values[name] = (
                text if isinstance(before.get(inner) if isinstance(before, dict) else before, str) else json.loads(text)
            )
        except json.JSONDecodeError as error:
            raise UserError(f"--set {setting}: {text} is no JSON ({error.msg}).") from error
    return values


def main(argv: list[str] | None = None) -> None:
    """Split the command line, replace the constants, run the script's main with its flags."""
    argv = sys.argv[1:] if argv is None else argv
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = CommandLine(__doc__)
    parser.add_argument("script", help="name of a training script, without .py")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    args = parser.parse_args(argv[:cut])
    script = load_script(args.script)
    replace_constants(script, read_settings(script, args.set))
    sys.argv = [f"{args.script}.py", *argv[cut + 1 :]]
    try:
        script.main()
    except Stopped as stopped:  # it names the script alone, which would be another run
        launched = command("python", "-m", "experiments.launch", *argv[:cut], "--")
        text = str(stopped).replace(command("python", sys.argv[0]), launched)
        raise Stopped(text, stopped.exit_code) from None


if __name__ == "__main__":
    run_script(main)

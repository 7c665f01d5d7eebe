"""The commands of a document, and whether the programs that they start understand them."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys

import pytest
from helpers import ROOT, load_script


class Understood(BaseException):
    """The command line was parsed; nothing of the program has run."""


def commands(page: str) -> list[list[str]]:
    """The command lines of a Markdown page as lists of words: those of its ```bash blocks, where a line may go on after
    a backslash or within quotes, and those in `backquotes` that begin with python, torchrun or make."""
    found = []
    for block, inline in re.findall(r"```bash\n(.*?)```|`((?:python|torchrun|make) [^`]+)`", page, re.S):
        text = ""
        for line in (block or inline).replace("\\\n", " ").splitlines():
            text += f"\n{line}" if text else line
            try:
                words = shlex.split(text, comments=True)
            except ValueError:  # a quotation goes on
                continue
            text = ""
            found += [words] if words else []
        assert not text, f"a quotation has no end: {text}"
    return found


def check(words: list[str]) -> None:
    """Fail if the command names a program, a target or a file that is not there, or flags that it does not have."""
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif words[0] in ("python", "torchrun"):
        rest = [
            word
            for word in words[1:]
            if not re.match(r"--(nproc.per.node|nnodes|standalone|max-restarts|master|rdzv)", word)
        ]
        _parse(rest[1:] if rest[:1] == ["-m"] else rest)
    for name in words:
        assert not re.fullmatch(r"requirements[\w-]*\.txt|constraints\.txt", name) or (ROOT / name).is_file(), name


def _parse(words: list[str]) -> None:
    """Parse a program's command line as it would itself."""
    name, *arguments = words or ["pip"]
    if name == "experiments.launch" and "--" in arguments:  # the rest is the training script's
        cut = arguments.index("--")
        _parse([f"{arguments[0]}.py", *arguments[cut + 1 :]])
        arguments = arguments[:cut]
    if name == "pip" or arguments == ["FLAGS"]:
        return
    module = load_script(name.removesuffix(".py")) if name.endswith(".py") else importlib.import_module(name)
    if not arguments or not {"argparse", "parse_config"} & {*vars(module)}:
        return  # a program without flags
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, *given, **named):
        parse_args(self, *given, **named)
        raise Understood

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
        patch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(Understood):
            module.main()

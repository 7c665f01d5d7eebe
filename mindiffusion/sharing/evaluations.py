"""What evaluate.py has measured, found again for the very weights that it was measured on.

evaluation.json says of each model the digest of its weights. A result with the digest of the weights in question is
theirs; one that a run would be expected to have, but of other weights, is said and not shown; one of an earlier
version, which has no digest, is shown with a word of doubt.
"""

import json
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.checkpoint import find_newest
from mindiffusion.checkpoints.weights import weights_digest
from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.results import JSON_NAME, Result
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.files import read_errors_explained, read_text
from mindiffusion.runtime.plain_text import plain, plain_values

REAL = "real"  # the kind of a row of real images
ABSENT = "not evaluated"
DOUBT = "not known whether measured on these weights"
ALIKE = ("num_samples", "num_loss_images", "sampler", "reference_hash", "seed")  # settings that numbers depend on
OLD_NAMES = {"n_samples": "num_samples", "n_loss_images": "num_loss_images"}  # of settings, in files of before
LARGEST = 1e30  # of any measure; more cannot be rounded for a table


@dataclass(frozen=True)
class Answer:
    """What may be shown of some weights, and in words what must be known about it."""

    result: Result | None
    words: str


@read_errors_explained()
def find_evaluations(folders: list[Path]) -> list[Path]:
    """The evaluation files in the folders of runs, in the folders around them, and in ``evaluation*`` beside them or in
    the current folder. UserError if one cannot be looked into."""
    around = dict.fromkeys([*(folder.resolve().parent for folder in folders), Path.cwd()])
    beside = [place for home in around for place in sorted(home.glob("evaluation*")) if place.is_dir()]
    places = dict.fromkeys([*(folder.resolve() for folder in folders), *around, *beside])
    return [path for place in places if (path := place / JSON_NAME).is_file()]


def read_evaluation(path: Path) -> list[Result]:
    """The rows of an evaluation.json. UserError if it is none."""
    try:
        content = plain_values(json.loads(read_text(path)))
        settings = {OLD_NAMES.get(name, name): value for name, value in dict(content["settings"]).items()}
        return [_result(row, path, settings) for row in content["results"]]
    except (OSError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UserError(f"{path} is no evaluation: {plain(reason)}. Name what evaluate.py wrote.") from error


def how_measured(result: Result | None) -> str:
    """The sampler of the measured samples, as far as the file says, and how swd was scaled if that was asked for."""
    if result is None or result.about.get("kind") == REAL:
        return ""
    own = result.settings.get("swd_normalization") == "own"
    parts = [str(result.settings.get("sampler") or ""), "swd with each set's own scaling" if own else ""]
    return ", ".join(filter(None, parts))


def of_weights(results: list[Result], digests: Set[str], names: Set[str], folder: Path) -> Answer:
    """What is said of weights with one of these ``digests`` (none: they are not known). A result of other or unknown
    weights would be theirs if it has one of ``names``, and lies in ``folder`` or beside it."""
    found = max((r for r in results if r.digest in digests), key=_rank, default=None)
    if found:
        return Answer(found, f"these weights, {found.place}")
    home = folder.resolve().parent
    near = [result for result in results if result.name in names and home in result.source.resolve().parents]
    found = max(near, key=_rank, default=None)
    if found and found.digest and digests:
        return Answer(None, f"{ABSENT}; measured were other weights: {found.place} of an earlier run or checkpoint")
    return Answer(found, DOUBT if found else ABSENT)


def digests_of(folder: Path) -> frozenset[str]:
    """Of the weights, averaged and last, in the newest checkpoint of a folder; none if there is none."""
    try:
        found = find_newest(folder)
    except (UserError, PermissionError):
        return frozenset()
    states = [found.content["model"], found.content["ema"]] if found else []
    return frozenset(weights_digest(state) for state in states if state)


def _rank(result: Result) -> tuple[bool, float]:
    """The newest counts; one with another scaling of swd, which is asked for besides, if there is no other."""
    return result.settings.get("swd_normalization") != "own", result.source.stat().st_mtime


def _result(row: dict[str, Any], path: Path, settings: dict[str, Any]) -> Result:
    about = {name: value for name, value in row.items() if name not in ("metrics", "terms")}
    metrics = {plain(name, 40): _estimate(numbers) for name, numbers in row["metrics"].items()}
    return Result(plain(row["name"], 60), {k: v for k, v in metrics.items() if v}, about, path, settings)


def _estimate(numbers: dict[str, Any]) -> Estimate | None:
    """A number and its interval, of which any may be unknown; None for an unknown number."""
    value, low, high = (float("nan" if (n := numbers.get(key)) is None else n) for key in ("value", "low", "high"))
    if any(abs(each) > LARGEST for each in (value, low, high)):
        raise ValueError(f"no measure is as large as {max(value, low, high):g}")
    known = high - low > 1 / LARGEST
    return (Estimate(value, low, high) if known else Estimate(value)) if value == value else None

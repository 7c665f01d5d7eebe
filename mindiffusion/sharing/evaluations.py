"""What evaluate.py has measured, found again for the very weights that it was measured on.

evaluation.json says of each model the digest of its weights. A result with the digest of the weights in question is
theirs; one that a run would be expected to have, but of other weights, is said and not shown; one of an earlier
version, which has no digest, is shown with a word of doubt.
"""

import csv
import json
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.checkpoint import find_newest
from mindiffusion.checkpoints.weights import weights_digest
from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.settings import Result
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.files import read_text
from mindiffusion.runtime.plain_text import plain, plain_values

FILES = ("evaluation.json", "evaluation.csv")  # the first that is there is read: it has the intervals
REAL = "real"  # the kind of a row of real images
ABSENT = "not evaluated"
DOUBT = "not known whether measured on these weights"
ALIKE = ("n_samples", "n_loss_images", "sampler", "reference_hash", "seed")  # settings that numbers depend on
UNKNOWN = float("nan")
LARGEST = 1e30  # of any measure; more cannot be rounded for a table


@dataclass(frozen=True)
class Answer:
    """What may be shown of some weights, and in words what must be known about it."""

    result: Result | None
    words: str


def find_evaluations(folders: list[Path]) -> list[Path]:
    """The evaluation files in the folders of runs, in the folders around them, and in ``evaluation*`` beside them or in
    the current folder; of copies the first."""
    around = dict.fromkeys([*(folder.resolve().parent for folder in folders), Path.cwd()])
    beside = [place for home in around for place in sorted(home.glob("evaluation*")) if place.is_dir()]
    places = dict.fromkeys([*(folder.resolve() for folder in folders), *around, *beside])
    found = [path for place in places if (path := evaluation_file(place))]
    return list({path.read_bytes(): path for path in reversed(found)}.values())[::-1]


def evaluation_file(folder: Path) -> Path | None:
    """The evaluation file in a folder, if there is one."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read_evaluation(path: Path) -> list[Result]:
    """The rows of what evaluate.py wrote, or of any CSV or JSON list of rows with a ``name``. UserError if it is
    neither."""
    try:
        content: Any = read_text(path)
        content = json.loads(content) if path.suffix == ".json" else list(csv.DictReader(content.splitlines()))
        settings = plain_values(content.get("settings", {})) if isinstance(content, dict) else {}
        rows = content["results"] if isinstance(content, dict) else content
        if not (isinstance(rows, list) and all(isinstance(row, dict) and row.get("name") for row in rows)):
            raise ValueError("there are rows without a name")
        return [_result(row, path, settings if isinstance(settings, dict) else {}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = plain(first_line(error))
        raise UserError(f"{path} is no evaluation table: {reason}. Name what evaluate.py wrote.") from error


def of_weights(results: list[Result], digests: Set[str], theirs: Callable[[Result], bool]) -> Answer:
    """What the newest file says of weights with one of these ``digests`` (none: they are not known). ``theirs``:
    whether a result of other or unknown weights would be expected to be theirs."""
    found = max((r for r in results if r.digest in digests), key=_age, default=None)
    if found:
        return Answer(found, f"these weights, {found.place}")
    found = max(filter(theirs, results), key=_age, default=None)
    if found and found.digest and digests:
        return Answer(None, f"{ABSENT}; measured were other weights: {found.place} of an earlier run or checkpoint")
    return Answer(found, DOUBT if found else ABSENT)


def of_run(record: RunRecord, title: str, results: list[Result], named: bool) -> Answer:
    """What is known of the newest checkpoint of a run that the page calls ``title``. ``named``: whether the user has
    named the files, so that a name alone says whose a result is."""

    def theirs(result: Result) -> bool:
        return (named and result.name == title) or is_near(result, record, {title, record.title})

    return of_weights(results, digests_of(record.checkpoints_dir), theirs)


def is_near(result: Result, record: RunRecord, names: Set[str]) -> bool:
    """Whether a result that tells no digest would be the run's: it lies in its folder, or beside it under its name."""
    home, here = record.folder.resolve(), result.source.resolve().parent
    return here == home or (home.parent in (here, here.parent) and result.name in names)


def digests_of(folder: Path) -> frozenset[str]:
    """Of the weights, averaged and last, in the newest checkpoint of a folder; none if there is none."""
    try:
        found = find_newest(folder)
    except UserError:
        return frozenset()
    states = [found.content["model"], found.content["ema"]] if found else []
    return frozenset(weights_digest(state) for state in states if state)


def _age(result: Result) -> float:
    return result.source.stat().st_mtime


def _result(row: dict[str, Any], path: Path, settings: dict[str, Any]) -> Result:
    about = plain_values({name: value for name, value in row.items() if name not in ("metrics", "terms")})
    numbers = row["metrics"] if "metrics" in row else {name: row[name] for name in row if name != "name"}
    if not isinstance(numbers, dict):
        raise ValueError("the metrics of a row are no table")
    metrics = {plain(name, 40): _estimate(value) for name, value in numbers.items()}
    return Result(plain(row["name"], 60), {k: v for k, v in metrics.items() if v}, about, path, settings)


def _estimate(value: Any) -> Estimate | None:
    """A plain number, or {"value", "low", "high"}, of which any may be unknown. None for what is no number."""
    parts = [value.get(name) for name in ("value", "low", "high")] if isinstance(value, dict) else [value, None, None]
    try:
        value, low, high = (UNKNOWN if each in (None, "") else float(each) for each in parts)
    except (ValueError, TypeError, OverflowError):  # words, as in the column ``reference``
        return None
    if not abs(value) < LARGEST:
        return None
    return Estimate(value, low, high) if 1 / LARGEST < high - low < LARGEST else Estimate(value)

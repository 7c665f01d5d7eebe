"""Evaluation tables on the page: the main metrics with intervals and their direction, all metrics folded away."""

from html import escape
from pathlib import Path
from typing import Any

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.terminal_table import HIGHER, LOWER, MAIN, rounded
from mindiffusion.reports.run_record import evaluation_file, read_evaluation

ARROWS = {LOWER: "↓", HIGHER: "↑"}
WORDS = ("name", "reference")  # columns that are no metrics


def find_evaluations(folders: list[Path]) -> list[Path]:
    """The evaluation tables in the folders of runs, in the folders around them, and in ``evaluation*`` beside them; of
    copies the first."""
    around = dict.fromkeys(folder.resolve().parent for folder in folders)
    beside = [place for home in around for place in sorted(home.glob("evaluation*")) if place.is_dir()]
    places = dict.fromkeys([*(folder.resolve() for folder in folders), *around, *beside])
    found = [path for place in places if (path := evaluation_file(place))]
    return list({path.read_bytes(): path for path in reversed(found)}.values())[::-1]


def evaluation_section(path: Path) -> str:
    """One evaluation file: its main columns, and the whole table to unfold."""
    rows = read_evaluation(path)
    names = list(dict.fromkeys(name for row in rows for name in row if name not in WORDS))
    main = [name for name in MAIN if name in names] or names
    title = f"<h2>Evaluation <small>{escape(path.name)} in {escape(path.resolve().parent.name)}</small></h2>"
    words = "<p>± is half the 95 % interval over images, not over seeds. ↓ lower is better, ↑ higher is better.</p>"
    folded = ""
    if len(main) < len(names):
        everything = _table(rows, names)
        folded = f'<details><summary>all {len(names)} metrics</summary><div class="scroll">{everything}</div></details>'
    table = f'<div class="scroll">{_table(rows, main)}</div>'
    return f'<section class="evaluation">{title}{words}{table}{folded}</section>'


def _table(rows: list[dict[str, Any]], metrics: list[str]) -> str:
    words = [word for word in WORDS if any(word in row for row in rows)]
    titles = {"name": "name", "reference": "real images were"}
    heads = [titles[word] for word in words] + [f"{name} {ARROWS.get(MAIN.get(name), '')}".strip() for name in metrics]
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(row.get(column)))}</td>" for column in [*words, *metrics]) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        unknown = float("nan")
        return rounded(Estimate(*(unknown if value.get(k) is None else value[k] for k in ("value", "low", "high"))))
    if value is None or value == "":
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""The evaluation on the page: a row per measure, a column per run, and one of real images if they were measured too."""

from pathlib import Path

from mindiffusion.evaluation.measures import HIGHER, LOWER, SHOWN
from mindiffusion.evaluation.settings import Result
from mindiffusion.evaluation.terminal_table import rounded
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.plain_text import for_html
from mindiffusion.sharing.evaluations import ALIKE, REAL, Answer, how_measured, of_run, read_evaluation
from mindiffusion.sharing.page_table import page_table

ARROWS = {LOWER: "↓", HIGHER: "↑"}
WORDS = "± is half the 95 % interval over images, not over seeds. ↓ lower is better, ↑ higher is better."


def evaluation_section(records: list[RunRecord], titles: list[str], files: list[Path], named: bool) -> str:
    """What the evaluation ``files`` say of the runs: each run has a column, and what was measured on other weights is
    said and not shown. ``named``: whether the user named the files. Empty if there are none."""
    if not files:
        return ""
    results = [result for path in files for result in read_evaluation(path)]
    answers = [of_run(record, title, results, named) for record, title in zip(records, titles, strict=True)]
    shown = [answer.result for answer in answers if answer.result]
    real = [r for r in results if r.about.get("kind") == REAL and r.source in [s.source for s in shown]][:1]
    heads, columns = [*titles, *(r.name for r in real)], [*answers, *(Answer(r, "real images") for r in real)]
    names = list(dict.fromkeys(name for each in columns if each.result for name in each.result.metrics))
    main = [name for name in SHOWN if name in names] or names
    first = [("measured on", [each.words for each in columns])]
    drawn = [how_measured(each.result) if each.result else "" for each in answers]
    if any(drawn):
        first.append(("samples drawn by", [each or "-" for each in [*drawn, *("" for _ in real)]]))
    if any("reference" in result.about for result in shown):
        first.append(("real images were", [_reference(each.result) for each in columns]))
    notes = "".join(f'<p class="note">{for_html(note)}</p>' for note in _unlike(shown))
    table = page_table(heads, first + [_row(name, columns) for name in main])
    folded = ""
    if len(main) < len(names):
        everything = page_table(heads, [_row(name, columns) for name in names])
        folded = f"<details><summary>all {len(names)} metrics</summary>{everything}</details>"
    return f'<section class="evaluation"><h2>Evaluation</h2><p>{WORDS}</p>{notes}{table}{folded}</section>'


def _row(name: str, columns: list[Answer]) -> tuple[str, list[str]]:
    cells = [rounded(each.result.metrics.get(name)) if each.result else "-" for each in columns]
    arrow = ARROWS.get(SHOWN[name].direction, "") if name in SHOWN else ""
    return f"{name} {arrow}".strip(), cells


def _reference(result: Result | None) -> str:
    return str(result.about.get("reference") or "-") if result else "-"


def _unlike(results: list[Result]) -> list[str]:
    """The settings in which the measurements differ."""
    found = []
    for name in ALIKE:
        values = list(dict.fromkeys(str(result.settings[name]) for result in results if name in result.settings))
        if len(values) > 1:
            found.append(f"The runs were not measured alike: {name} is {', '.join(values)}.")
    return found

"""The tables of the comparison page, a column per run: what was measured of the runs, and how they were configured.

On a narrow screen each row of a table folds into a block of its own.
"""

import json
from pathlib import Path
from typing import Any

from mindiffusion.checkpoints.same_run import flat_settings
from mindiffusion.config import PLACES, identity_fields
from mindiffusion.evaluation.measures import HIGHER, LOWER, SHOWN
from mindiffusion.evaluation.results import Result, rounded
from mindiffusion.reports.run_record import RunRecord
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.plain_text import for_html
from mindiffusion.runtime.terminal import warn
from mindiffusion.sharing.evaluations import ALIKE, REAL, Answer, digests_of, how_measured, of_weights, read_evaluation

ARROWS = {LOWER: "↓", HIGHER: "↑"}
WORDS = "± is half the 95 % interval over images, not over seeds. ↓ lower is better, ↑ higher is better."
SCIENCE = (*identity_fields(), "data")  # what decides what is learned; the rest is place and machine


def page_table(heads: list[str], rows: list[tuple[str, list[str]]], kinds: list[str] | None = None) -> str:
    """HTML of ``rows``, each a label and a cell per head; ``kinds``: a class per row."""
    head = "".join(f"<th>{for_html(text)}</th>" for text in ("", *heads))
    lines = []
    for index, (label, cells) in enumerate(rows):
        kind = f' class="{kinds[index]}"' if kinds else ""
        pairs = zip(heads, cells, strict=True)
        body = "".join(f'<td data-run="{for_html(run)}">{for_html(cell, 1000)}</td>' for run, cell in pairs)
        lines.append(f"<tr{kind}><th>{for_html(label)}</th>{body}</tr>")
    body = "".join(lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def evaluation_section(records: list[RunRecord], titles: list[str], files: list[Path]) -> str:
    """What the evaluation ``files`` say of the runs, a row per measure, and of real images if they were measured too;
    what was measured on other weights is said and not shown. Empty if there are none."""
    if not files:
        return ""
    results = []
    for path in files:
        try:
            results += read_evaluation(path)
        except UserError as error:  # it was not named, but found
            warn(f"not on the page: {error}")
    answers = []
    for record, title in zip(records, titles, strict=True):
        digests = digests_of(record.checkpoints_dir)
        answers.append(of_weights(results, digests, {title, record.title}, record.folder))
    shown = [answer.result for answer in answers if answer.result]
    real = [r for r in results if r.about.get("kind") == REAL and r.source in [s.source for s in shown]][:1]
    heads, columns = [*titles, *(r.name for r in real)], [*answers, *(Answer(r, "real images") for r in real)]
    names = list(dict.fromkeys(name for each in columns if each.result for name in each.result.metrics))
    main = [name for name in SHOWN if name in names] or names
    first = [("measured on", [each.words for each in columns])]
    drawn = [how_measured(each.result) for each in columns]
    reference = [str(each.result.about.get("reference") or "") if each.result else "" for each in columns]
    for label, cells in (("samples drawn by", drawn), ("real images were", reference)):
        if any(cells):
            first.append((label, [cell or "-" for cell in cells]))
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


def _unlike(results: list[Result]) -> list[str]:
    """The settings in which the measurements differ."""
    found = []
    for name in ALIKE:
        values = list(dict.fromkeys(str(result.settings[name]) for result in results if name in result.settings))
        if len(values) > 1:
            found.append(f"The runs were not measured alike: {name} is {', '.join(values)}.")
    return found


def config_section(records: list[RunRecord], names: list[str]) -> str:
    """All fields but places, a column per run: those that differ first, and highlighted where they decide what is
    learned. Of one run nothing differs, and all is shown."""
    flat = [flat_settings({k: v for k, v in record.config.items() if k not in PLACES}) for record in records]
    fields = list(dict.fromkeys(name for config in flat for name in config))
    differing = [name for name in fields if len({json.dumps(config.get(name)) for config in flat}) > 1]
    science = [name for name in differing if name.partition(".")[0] in SCIENCE]
    differing.sort(key=lambda name: name not in science)
    order = [*differing, *(name for name in fields if name not in differing)]
    rows = [(name, [_cell(config.get(name)) for config in flat]) for name in order]
    kinds = ["same" if name not in differing else "science" if name in science else "place" for name in order]
    if len(records) == 1:
        return f"<h2>Configuration</h2>{page_table(names, rows)}"
    label = '<label><input id="all" type="checkbox"> show what is the same, too</label>'
    words = "differences first; highlighted if they decide what is learned"
    return f"<h2>Configuration <small>{words}</small></h2>{label}{page_table(names, rows, kinds)}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "none"

"""A table of the page: a row per thing, a column per run. On a narrow screen each row folds into a block of its own."""

from mindiffusion.runtime.plain_text import for_html


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

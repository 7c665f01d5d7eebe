"""Words that come from files, made harmless before a terminal, a page or a model card shows them.

A stage's name, a variant, a file's name: whoever wrote the file chose them. ``plain`` takes away what moves a cursor,
turns the direction of writing or cannot be seen; ``for_html`` and ``for_markdown`` also what those would read as their
own language.
"""

import re
import unicodedata
from html import escape
from typing import Any

MOST = 200  # characters of one word or name
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls (ESC), bidi and other format characters, half characters
MARKDOWN = re.compile(  # code, emphasis, links, cells, formulas; the end of a heading; addresses; letters by their name
    r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|(?<!\S)#|:(?=//)|(?<=www)\.|&(?=#?\w+;)"
)
DEEPEST = 12  # levels of a value that ``plain_values`` follows; what this program writes has four


def plain(text: object, most: int = MOST) -> str:
    """One line of at most ``most`` characters that can all be seen; what cannot be seen is a "?"."""
    line = plain_lines(" ".join(str(text)[: 4 * most].split()))
    return line if len(line) <= most else line[: most - 1] + "…"


def plain_lines(text: object) -> str:
    """The same for a whole message, which keeps its lines, its blanks and its length."""
    return "".join("?" if unicodedata.category(each) in UNSEEN and each != "\n" else each for each in str(text))


def for_html(text: object, most: int = MOST) -> str:
    """``plain`` text that HTML shows as it is, in attributes too."""
    return escape(plain(text, most))


def for_markdown(text: object, most: int = MOST) -> str:
    """``plain`` text that markdown shows as it is, within a line or a cell of a table: no tag, link or emphasis."""
    return MARKDOWN.sub(r"\\\g<0>", plain(text, most)).replace("<", "&lt;")


def plain_values(value: Any, deep: int = DEEPEST) -> Any:
    """What JSON or a checkpoint holds, all its words ``plain``. ValueError if it is nested deeper than ``deep``, or has
    a number that is none (NaN, infinity)."""
    if not deep:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        return {plain(name): plain_values(item, deep - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item, deep - 1) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError(f"{value} is no number")
    return plain(value) if isinstance(value, str) else value

"""Trees, tables and bytes with a fault each, for the tests that read what others may have damaged."""

import json
import random
from pathlib import Path

import torch

from mindiffusion.networks import REGISTRY

DEEP = []
for _ in range(400):
    DEEP = [DEEP]
VALUES = (  # that are not as they should be, wherever they stand
    *(None, -1, 10**9, 2**63, 10**400, -1.5, 1e300, float("nan"), float("inf")),
    *("", "x", "9" * 5000, "\x1b[2J\u202e", "<!--<script>", "a,b\n;c"),
    *([], {}, [1, "a"], [None] * 200, DEEP, {"a": DEEP}),
)
POSSIBLE = (True, 0, 1, 99, 0.5, 10**6, *REGISTRY)  # somewhere
DRAWN = ("n_T", "betas", "t_stop")  # what is possible here makes other images, as it should
CELLS = ("", "x", "nan", "inf", "-1", "1e300", "9" * 400, "0", '"', "\x1b[2J")
TENSORS = {
    "shape": lambda tensor: torch.zeros(*tensor.shape, 2),
    "flat": lambda tensor: torch.zeros(tensor.numel() + 1),
    "number": lambda tensor: 0.5,
    "whole": lambda tensor: torch.ones(tensor.shape, dtype=torch.int64 if tensor.is_floating_point() else torch.float),
    "complex": lambda tensor: torch.ones(tensor.shape, dtype=torch.complex64),
    "sparse": lambda tensor: torch.ones(tensor.shape).to_sparse(),
    "hollow": lambda tensor: torch.zeros(1).expand(10**7),
    "elsewhere": lambda tensor: torch.zeros(tensor.shape, device="meta"),
    "no number": lambda tensor: torch.full(tensor.shape, float("nan")),
    "text": lambda tensor: "x",
}


def places(node, above=()):
    """Every (container, key, names above) of a tree of dicts and lists."""
    for key in list(range(len(node)) if isinstance(node, list) else node):
        yield node, key, above
        if isinstance(node[key], dict | list):
            yield from places(node[key], (*above, key))


def alter(tree, dice: random.Random) -> str:
    """One value replaced, removed or renamed, in place. Returns what was done."""
    found = list(places(tree))
    # In a tree of a checkpoint most leaves are moments and weights: choose among those, or among the others.
    tensors = [place for place in found if isinstance(place[0][place[1]], torch.Tensor)]
    others = [place for place in found if not isinstance(place[0][place[1]], torch.Tensor)]
    node, key, above = dice.choice(tensors if tensors and dice.random() < 0.4 else others)
    if dice.random() < 0.15:
        kind = "absent"
        del node[key]
    elif isinstance(node[key], torch.Tensor):
        kind = dice.choice(list(TENSORS))
        node[key] = TENSORS[kind](node[key])
    elif isinstance(node, dict) and dice.random() < 0.1:
        kind = "renamed"
        node[dice.choice((0, None, "x", "\x1b[2J"))] = node.pop(key)
    else:
        drawn = any(name in DRAWN for name in (*above, key))
        possible = () if drawn else (*POSSIBLE, torch.zeros(2)) if tensors else POSSIBLE
        node[key] = dice.choice((*VALUES, *possible))
        kind = repr(node[key])[:40]
    return f"{'.'.join(map(str, (*above, key)))}: {kind}"


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bytes cut off, flipped, overwritten, doubled or replaced."""
    at = dice.randrange(min(len(content), dice.choice((200, len(content)))))
    noise = dice.randbytes(20)
    flipped = content[:at] + bytes([content[at] ^ 1 << dice.randrange(7)]) + content[at + 1 :]
    overwritten, zeroed = (content[:at] + part + content[at + len(part) :] for part in (noise, bytes(512)))
    return dice.choice((content[:at], flipped, overwritten, zeroed, noise + content, content * 2, b"", noise))


def altered_json(path: Path, dice: random.Random) -> str:
    """One value of the file altered, or its bytes. Returns what was done."""
    if dice.random() < 0.2:
        path.write_bytes(damaged(path.read_bytes(), dice))
        return "damage"
    tree = json.loads(path.read_text())
    what = alter(tree, dice)
    path.write_text(json.dumps(tree))
    return what


def altered_csv(path: Path, dice: random.Random) -> str:
    """One cell of the file altered or gone, or its bytes altered. Returns what was done."""
    if dice.random() < 0.3:
        path.write_bytes(damaged(path.read_bytes(), dice))
        return "damage"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    row = dice.choice(rows)
    column = dice.randrange(len(row))
    row[column : column + 1] = dice.choice(([dice.choice(CELLS)], []))
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    return "cell"

"""Trees and bytes with a fault each, for the tests that read what others may have damaged."""

import random

DEEP = []
for _ in range(400):
    DEEP = [DEEP]
VALUES = (  # that are not as they should be, wherever they stand
    *(None, -1, 10**9, 2**63, 10**400, -1.5, 1e300, float("nan"), float("inf")),
    *("", "x", "9" * 5000, "\x1b[2J\u202e", "<!--<script>", "a,b\n;c"),
    *([], {}, [1, "a"], [None] * 200, DEEP, {"a": DEEP}),
)


def places(node, above=()):
    """Every (container, key, names above) of a tree of dicts and lists."""
    for key in list(range(len(node)) if isinstance(node, list) else node):
        yield node, key, above
        if isinstance(node[key], dict | list):
            yield from places(node[key], (*above, key))


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bytes cut off, flipped, overwritten, doubled or replaced."""
    at = dice.randrange(min(len(content), dice.choice((200, len(content)))))
    noise = dice.randbytes(20)
    flipped = content[:at] + bytes([content[at] ^ 1 << dice.randrange(7)]) + content[at + 1 :]
    return dice.choice(
        (content[:at], flipped, content[:at] + noise + content[at + 20 :], content * 2, b"", b"\0" * 999, noise)
    )

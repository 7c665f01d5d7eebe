"""Whether the reference images were held out of a model's training: what makes its numbers worth anything."""

from dataclasses import dataclass
from typing import Any

from mindiffusion.data.images import parse_range
from mindiffusion.data.synthetic import SYNTHETIC

HELD_OUT, TRAINED_ON, UNKNOWN = "held out", "trained on", "not known"
DRAWN_ALIKE = "drawn alike"  # synthetic images of a model's own set: there are few different ones, and it saw most


@dataclass(frozen=True)
class Reference:
    """The real images that are compared with. ``files``: the digest by which a checkpoint names the folder, "" for
    synthetic images; ``places``: first and last of the sorted images, from 1; ``synthetic_set``: their name."""

    files: str
    places: tuple[int, int]
    synthetic_set: str = SYNTHETIC


@dataclass(frozen=True)
class Verdict:
    """``status`` is one of HELD_OUT, DRAWN_ALIKE, TRAINED_ON and UNKNOWN; ``reason`` a sentence."""

    status: str
    reason: str


def verdict(data: dict[str, Any] | None, reference: Reference) -> Verdict:
    """Of a model with the data fingerprint ``data`` (of its checkpoint; None where there is none)."""
    if not data:
        return Verdict(UNKNOWN, "the file does not say what it was trained on")
    if data.get("kind") == SYNTHETIC:
        if reference.files:
            return Verdict(HELD_OUT, "it was trained on synthetic images")
        if data.get("set", SYNTHETIC) != reference.synthetic_set:
            return Verdict(HELD_OUT, "it was trained on another set of synthetic images")
        return Verdict(DRAWN_ALIKE, "the reference is drawn as its training images were, and many are the same")
    if not reference.files:
        return Verdict(HELD_OUT, "it was trained on a folder, and the reference is synthetic")
    if data.get("files") != reference.files:
        return Verdict(UNKNOWN, "it was trained on another folder, which may hold the same pictures")
    first, last = parse_range(str(data.get("places") or f"1-{data['images']}"))
    shared = min(last, reference.places[1]) - max(first, reference.places[0]) + 1
    if shared <= 0:
        return Verdict(HELD_OUT, f"it was trained on images {first}-{last} of this folder")
    total = reference.places[1] - reference.places[0] + 1
    return Verdict(TRAINED_ON, f"it was trained on {shared:,} of the {total:,} reference images")


def rest_of(trained_on: list[dict[str, Any] | None], files: str, count: int) -> tuple[int, int] | None:
    """The longest stretch of the ``count`` images of a folder that no model with these data fingerprints was trained
    on, as far as that is known; None if there is none, or if nothing is known of any model."""
    ranges = [
        parse_range(str(data.get("places") or f"1-{count}"))
        for data in trained_on
        if data and data.get("files") == files
    ]
    if not ranges:
        return None
    stretches, after = [], 1
    for first, last in [*sorted(ranges), (count + 1, count + 1)]:
        stretches.append((first - after, after, first - 1))
        after = max(after, last + 1)
    length, first, last = max(stretches)
    return (first, last) if length >= 2 else None


def summary(statuses: dict[str, str]) -> str:
    """One line about all rows, {name: status}: for a title."""
    seen = [name for name, status in statuses.items() if status == TRAINED_ON]
    alike = [name for name, status in statuses.items() if status == DRAWN_ALIKE]
    unknown = [name for name, status in statuses.items() if status == UNKNOWN]
    if seen:
        return f"NOT held out: {', '.join(seen)} trained on reference images"
    if alike:
        return f"reference drawn like the training images of {', '.join(alike)}, not held out"
    if unknown:
        return f"reference not known to be held out from {', '.join(unknown)}"
    return "no model was trained on the reference images" if statuses else "no model was measured"

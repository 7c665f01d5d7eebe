"""Whether reference images were held out: from the data that a checkpoint names, never guessed."""

import pytest

from mindiffusion.evaluation.held_out import DRAWN_ALIKE, HELD_OUT, TRAINED_ON, UNKNOWN, Reference, rest_of, verdict

FACES = {"kind": "folder", "images": 9000, "files": "abc"}
SYNTHETIC = {"kind": "synthetic", "images": 4096}
LAST = Reference("abc", (8001, 9000))


@pytest.mark.parametrize(
    ("data", "reference", "status", "words"),
    [
        ({**FACES, "images": 8000, "places": "1-8000"}, LAST, HELD_OUT, "images 1-8000"),
        ({**FACES, "images": 8001, "places": "1-8001"}, LAST, TRAINED_ON, "1 of the 1,000"),
        (FACES, LAST, TRAINED_ON, "1,000 of the 1,000"),
        (FACES, Reference("other", (1, 10)), UNKNOWN, "another folder"),
        (None, LAST, UNKNOWN, "does not say"),
        ({}, LAST, UNKNOWN, "does not say"),
        (SYNTHETIC, LAST, HELD_OUT, "synthetic"),
        (SYNTHETIC, Reference("", (1, 100)), DRAWN_ALIKE, "many are the same"),
        ({**SYNTHETIC, "set": "synthetic-demo"}, Reference("", (1, 100)), HELD_OUT, "another set"),
    ],
)
def test_the_verdict_follows_from_the_fingerprint_of_the_data(data, reference, status, words):
    found = verdict(data, reference)
    assert found.status == status and words in found.reason


def test_the_rest_is_the_longest_stretch_that_nobody_was_trained_on():
    first, middle = {**FACES, "places": "1-8000"}, {**FACES, "places": "501-8990"}
    assert rest_of([first], "abc", 9000) == (8001, 9000)
    assert rest_of([middle], "abc", 9000) == (1, 500)
    assert rest_of([first, middle], "abc", 9000) == (8991, 9000)
    assert rest_of([FACES], "abc", 9000) is None
    assert rest_of([None, {**first, "files": "x"}], "abc", 9000) is None

"""Whether reference images were held out: from the data that a checkpoint names, never guessed."""

from dataclasses import replace

import pytest
import torch
from helpers import write_pngs
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from mindiffusion.evaluation.reference import RealImages, image_hash, load_real, rest_of, verdict

FACES = {"kind": "folder", "images": 9000, "files": "abc"}
SYNTHETIC = {"kind": "synthetic", "images": 4096}
LAST = RealImages(torch.empty(9000, 0), (8001, 9000), "abc")
DRAWN = RealImages(torch.empty(200, 0), (1, 100))


@pytest.mark.parametrize(
    ("data", "reference", "status", "words"),
    [
        ({**FACES, "images": 8000, "places": "1-8000"}, LAST, "held out", "images 1-8000"),
        ({**FACES, "images": 8001, "places": "1-8001"}, LAST, "trained on", "1 of the 1,000"),
        (FACES, LAST, "trained on", "1,000 of the 1,000"),
        (FACES, replace(LAST, files="other"), "not known", "another folder"),
        (None, LAST, "not known", "does not say"),
        ({}, LAST, "not known", "does not say"),
        (SYNTHETIC, LAST, "held out", "synthetic"),
        (SYNTHETIC, DRAWN, "drawn alike", "many are the same"),
        ({**SYNTHETIC, "set": "synthetic-tiles"}, DRAWN, "held out", "another set"),
    ],
)
def test_the_verdict_follows_from_the_fingerprint_of_the_data(data, reference, status, words):
    found, reason = verdict(data, reference)
    assert found == status and words in reason


def test_the_rest_is_the_longest_stretch_that_nobody_was_trained_on():
    first, middle = {**FACES, "places": "1-8000"}, {**FACES, "places": "501-8990"}
    assert rest_of([first], "abc", 9000) == (8001, 9000)
    assert rest_of([middle], "abc", 9000) == (1, 500)
    assert rest_of([first, middle], "abc", 9000) == (8991, 9000)
    assert rest_of([FACES], "abc", 9000) is None
    assert rest_of([None, {**first, "files": "x"}], "abc", 9000) is None


def test_the_reference_are_the_named_files_of_the_sorted_folder_and_the_floor_is_of_the_others(cache, tmp_path):
    folder = write_pngs(tmp_path / "faces")
    pixels = torch.stack([pil_to_tensor(Image.open(path)) for path in sorted(folder.iterdir())])
    real = load_real(str(folder), 32, "square", (9, 16), 2)
    assert torch.equal(real.images, pixels[8:16])
    assert torch.equal(real.floor(99), torch.cat((pixels[:8], pixels[16:])))
    assert torch.equal(real.floor(2), pixels[[0, 23]])
    assert real.describe()["reference_hash"] == image_hash(pixels[8:16]) != image_hash(pixels[:8])

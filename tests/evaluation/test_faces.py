"""face_rate: faces are found, other pictures are not; an interval; one line where OpenCV is missing."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import evaluate
from mindiffusion.evaluation import faces as detector
from mindiffusion.evaluation import measures
from mindiffusion.evaluation.measure import sample_row
from mindiffusion.evaluation.settings import Settings

needs_opencv = pytest.mark.skipif(not detector.can_find_faces(), reason="OpenCV is optional (requirements-eval.txt)")


def drawn_face(tone: int = 0) -> Image.Image:
    """A cartoon of a face, 32 pixels wide, that the cascade takes for one: no picture of a person is kept here."""
    large = Image.new("RGB", (256, 256), (90, 90, 100))
    draw = ImageDraw.Draw(large)

    def oval(left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        draw.ellipse([8 * left, 8 * top, 8 * right, 8 * bottom], fill=tuple(part - tone for part in colour))

    oval(4, 0, 28, 30, (60, 40, 30))  # hair
    oval(6, 3, 26, 31, (215, 170, 140))
    for middle in (11.5, 20.5):
        oval(middle - 3, 10, middle + 3, 13, (120, 80, 60))  # brow
        oval(middle - 2.2, 12, middle + 2.2, 15.5, (70, 45, 40))  # eye
    oval(14.5, 14, 17.5, 21, (230, 190, 165))  # nose
    oval(14, 20, 18, 21.5, (150, 100, 85))
    oval(12, 23.5, 20, 26.5, (150, 70, 70))  # mouth
    return large.resize((32, 32), Image.Resampling.BICUBIC)


def drawn_faces(count: int) -> torch.Tensor:
    """uint8 (count, 3, 32, 32), of different brightness."""
    pixels = np.stack([np.asarray(drawn_face(3 * k)) for k in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@needs_opencv
def test_faces_are_found_and_the_same_faces_lying_or_in_negative_are_not():
    faces = drawn_faces(5)
    assert detector.found_faces(faces).tolist() == [1.0] * 5
    assert detector.found_faces(faces.transpose(2, 3)).sum() == 0
    assert detector.found_faces(255 - faces).sum() == 0
    assert detector.found_faces(torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)).sum() == 0


@needs_opencv
def test_the_rate_is_a_share_of_the_samples_with_an_interval():
    faces = drawn_faces(8)
    samples = torch.cat((faces[:6], 255 - faces[6:]))
    estimate = sample_row(samples, faces, Settings(("face_rate",)))["face_rate"]
    assert estimate.value == 0.75
    assert 0.3 <= estimate.low < 0.75 < estimate.high <= 1.0
    bare = sample_row(samples, faces, Settings(("face_rate",), resamples=0))["face_rate"]
    assert bare.value == 0.75 and bare.low != bare.low


@pytest.fixture
def folder(elsewhere, tmp_path) -> Path:
    """A folder of six drawn faces."""
    faces = tmp_path / "faces"
    faces.mkdir()
    for k in range(6):
        drawn_face(3 * k).save(faces / f"{k}.png")
    return faces


def evaluated(*arguments: object) -> dict:
    evaluate.main([*map(str, arguments), "--no-plots", "--device", "cpu", "--output-dir", "out"])
    return json.loads(Path("out", "evaluation.json").read_text())


def test_without_opencv_the_rate_is_left_out_with_one_line(folder, capsys, monkeypatch):
    monkeypatch.setattr(measures, "can_find_faces", lambda: False)
    monkeypatch.setitem(sys.modules, "cv2", None)  # an import of it would now fail
    report = evaluated(folder, "--data-path", folder, "--metrics", "face_rate", "color")
    assert capsys.readouterr().err.count("no face_rate: OpenCV is not installed") == 1
    assert next(iter(report["results"][0]["metrics"])) == "color_error" and report["settings"]["faces"] is None

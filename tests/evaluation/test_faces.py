"""face_rate: faces are found, other pictures are not; an interval."""

import pytest
import torch
from PIL import Image, ImageDraw
from torchvision.transforms.functional import pil_to_tensor

from mindiffusion.evaluation import image_statistics as detector
from mindiffusion.evaluation.settings import Settings
from mindiffusion.runtime.packages import installed

pytestmark = pytest.mark.skipif(not installed("cv2"), reason="OpenCV is optional (requirements-eval.txt)")


def drawn_face(tone: int) -> Image.Image:
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
    return torch.stack([pil_to_tensor(drawn_face(3 * k)) for k in range(count)])


def test_faces_are_found_and_the_same_faces_lying_or_in_negative_are_not():
    faces = drawn_faces(5)
    assert detector.found_faces(faces).tolist() == [1.0] * 5
    assert detector.found_faces(faces.transpose(2, 3)).sum() == 0
    assert detector.found_faces(255 - faces).sum() == 0
    assert detector.found_faces(torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)).sum() == 0


def test_the_rate_is_a_share_of_the_samples_with_an_interval():
    faces = drawn_faces(8)
    samples = torch.cat((faces[:6], 255 - faces[6:]))
    estimate = detector.face_row(samples, faces, Settings())["face_rate"]
    assert estimate.value == 0.75
    assert 0.3 <= estimate.low < 0.75 < estimate.high <= 1.0

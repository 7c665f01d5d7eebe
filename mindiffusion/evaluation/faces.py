"""The share of images in which a face is found: the frontal face cascade of Viola and Jones (CVPR 2001) that comes with
OpenCV. A coarse question, but one about the content: a network that paints well-coloured blobs fails it.

OpenCV is an optional dependency (requirements-eval.txt). Nothing is downloaded: the cascade is part of the package.
The detector wants larger faces than 32 pixels, so images are enlarged first. Of real held-out CelebA faces at 32 pixels
94 % are found (939 of the 1,000 that our evaluations hold out): that, not 100 %, is what perfect samples would reach.
"""

import torch
from torch import Tensor

from mindiffusion.evaluation.bootstrap import Row, bootstrap
from mindiffusion.evaluation.settings import Settings

CASCADE = "haarcascade_frontalface_default.xml"
SIZE = 128  # pixels per side that images are enlarged to, by cubic interpolation
SCALE_FACTOR, MIN_NEIGHBORS = 1.1, 3  # the detector's steps of size, and how many of its windows must agree


def face_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """face_rate: the share of the uint8 samples in which a face is found."""
    return bootstrap(["face_rate"], lambda found: found.mean(0), found_faces(samples)[:, None], settings=settings)


def describe_detector() -> dict[str, str | int | float]:
    """What must be known to compare face rates."""
    import cv2

    return {
        "library": f"opencv {cv2.__version__}",
        "cascade": CASCADE,
        "enlarged_to": SIZE,
        "scale_factor": SCALE_FACTOR,
        "min_neighbors": MIN_NEIGHBORS,
    }


def found_faces(images: Tensor) -> Tensor:
    """Of each uint8 image (N, 3, S, S) on the CPU whether a face is found: (N,) float64, 0 or 1."""
    import cv2

    detector = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one thread always meets the windows in the same order
    try:
        found = []
        for image in images:
            pixels = image.permute(1, 2, 0).contiguous().numpy()
            large = cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
            grey = cv2.cvtColor(large, cv2.COLOR_RGB2GRAY)
            found.append(len(detector.detectMultiScale(grey, SCALE_FACTOR, MIN_NEIGHBORS)) > 0)
    finally:
        cv2.setNumThreads(threads)
    return torch.tensor(found, dtype=torch.float64)

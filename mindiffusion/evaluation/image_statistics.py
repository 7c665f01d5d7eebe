"""Statistics of single images whose means are compared: colour drift, the power spectrum, whether a face is found, and
of synthetic images how much of their known features is there (see data/synthetic.py, which the log of a run uses too).

Faces are found by the frontal face cascade of Viola and Jones (CVPR 2001) that comes with OpenCV, an optional
dependency (requirements-eval.txt): a coarse question, but one about the content, which well-coloured blobs fail. Of
real held-out CelebA faces at 32 pixels 94 % are found (939 of the 1,000 that our evaluations hold out): that, not
100 %, is what perfect samples would reach.
"""

import torch
from torch import Tensor

from mindiffusion.data.synthetic import coefficients, recovery_of, two_feature_model
from mindiffusion.evaluation.bootstrap import Estimate, Row, bootstrap
from mindiffusion.evaluation.settings import Settings, per_image

NAMES = ("mean_r", "mean_g", "mean_b", "saturation", "clipped")
CASCADE = "haarcascade_frontalface_default.xml"
FACE_SIZE = 128  # pixels per side that images are enlarged to, by cubic interpolation: it wants faces of over 32
SCALE_FACTOR, MIN_NEIGHBORS = 1.1, 3  # the detector's steps of size, and how many of its windows must agree
CLIP = 1.0 - 1.0 / 255.0  # beyond it a value is black or full in 8 bits


def color_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """color_error, which is the mean over channels of |difference of their means|; the means of ``NAMES``; and by how
    much samples are too saturated."""

    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        error = (samples[:, :3].mean(0) - reference[:, :3].mean(0)).abs().mean()
        here, there = samples.mean(0), reference.mean(0)
        return torch.cat((error[None], here, (here - there)[3:4]))

    sets = [per_image(color_statistics, images, settings.device) for images in (samples, reference)]
    return bootstrap(("color_error", *NAMES, "saturation_error"), statistic, *sets, settings=settings)


def color_statistics(images: Tensor) -> Tensor:
    """Statistics (N, 5) per image of (N, 3, S, S) in [-1, 1], in the order of ``NAMES``: the three channel means;
    the spread between a pixel's largest and smallest channel, in [0, 2] (0 = grey); the share of clipped values."""
    means = images.mean((2, 3))
    spread = (images.amax(1) - images.amin(1)).mean((1, 2))
    clipped = (images.abs() > CLIP).float().mean((1, 2, 3))
    return torch.cat((means, spread[:, None], clipped[:, None]), 1)


def spectrum_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """spectrum_db_LOW, the decibels by which the mean energy of an octave exceeds that of the reference: negative where
    detail is missing (blur), positive where there is too much (noise); and the mean of their magnitudes."""

    def statistic(samples: Tensor, reference: Tensor) -> Tensor:
        error = 10.0 * torch.log10(samples.mean(0).clamp(min=1e-12) / reference.mean(0).clamp(min=1e-12))
        return torch.cat((error, error.abs().mean()[None]))

    names = [*(f"spectrum_db_{low}" for low, _ in frequency_bands(samples.shape[-1])), "spectrum_db"]
    sets = [per_image(band_power, images, settings.device) for images in (samples, reference)]
    return bootstrap(names, statistic, *sets, settings=settings)


def frequency_bands(size: int) -> list[tuple[int, float]]:
    """Octaves [low, high) of spatial frequency in cycles per image: 1-2, 2-4, ..., the last with the corners."""
    lows = [1 << k for k in range((size // 2).bit_length())]
    return [(low, float("inf") if low == lows[-1] else 2.0 * low) for low in lows]


def band_power(images: Tensor) -> Tensor:
    """Energy (N, bands) per image (N, C, S, S) and octave, mean over channels, without that of the mean colour."""
    size = images.shape[-1]
    power = torch.fft.fft2(images.double(), norm="ortho").abs().square().mean(1)  # (N, S, S)
    frequency = torch.fft.fftfreq(size, 1.0 / size, dtype=torch.float64, device=images.device)
    radius = torch.hypot(frequency[:, None], frequency)
    masks = [(radius >= low) & (radius < high) for low, high in frequency_bands(size)]
    return torch.stack([power[:, mask].sum(1) for mask in masks], 1)


def recovery_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """recovery_coarse, recovery_fine and recovery_outside, of the features of the set ``settings.data_path``."""
    model = two_feature_model(samples.shape[-1], settings.data_path)

    def found(images: Tensor) -> Tensor:
        coarse, fine, outside = coefficients(model, images)
        return torch.cat((coarse, fine, outside[:, None]), 1)

    parts = per_image(found, samples, settings.device).split([len(model.coarse), len(model.fine), 1], 1)
    return {f"recovery_{name}": Estimate(value) for name, value in recovery_of(model, *parts).items()}


def face_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """face_rate: the share of the uint8 samples in which a face is found."""
    return bootstrap(["face_rate"], lambda found: found.mean(0), found_faces(samples)[:, None], settings=settings)


def describe_detector() -> dict[str, str | int | float]:
    """What must be known to compare face rates."""
    import cv2

    return {
        "library": f"opencv {cv2.__version__}",
        "cascade": CASCADE,
        "enlarged_to": FACE_SIZE,
        "scale_factor": SCALE_FACTOR,
        "min_neighbors": MIN_NEIGHBORS,
    }


def found_faces(images: Tensor) -> Tensor:
    """Of each uint8 image (N, 3, S, S) on the CPU whether a face is found: (N,) float64, 0 or 1."""
    import cv2

    detector = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
    cv2.setNumThreads(1)  # one thread always meets the windows in the same order
    found = []
    for image in images:
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        large = cv2.resize(pixels, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_CUBIC)
        grey = cv2.cvtColor(large, cv2.COLOR_RGB2GRAY)
        found.append(len(detector.detectMultiScale(grey, SCALE_FACTOR, MIN_NEIGHBORS)) > 0)
    return torch.tensor(found, dtype=torch.float64)

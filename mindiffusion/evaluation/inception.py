"""FID (arXiv 1706.08500), KID (1801.01401), precision and recall (1904.06991), computed by torch-fidelity.

torch-fidelity is an optional dependency (requirements-eval.txt), and its Inception weights are never downloaded here:
they come from a file, or from where the library itself would have kept them.
"""

import hashlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Subset

from mindiffusion.checkpoints.checkpoint import BadCheckpoint, load_plain
from mindiffusion.evaluation.bootstrap import Estimate, Row
from mindiffusion.evaluation.settings import Settings
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.packages import installed

METRICS = ("fid", "kid", "precision", "recall")
MEANT_FOR = 2048  # images: FID's matrices of 2048 features have full rank from about there on
WEIGHTS_NAME = "weights-inception-2015-12-05-6726825d.pth"  # the TensorFlow network of the FID paper, converted
NEIGHBORHOOD = 3  # the k of precision and recall, the paper's
LEAST = NEIGHBORHOOD + 1  # images to find so many neighbours among
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # the library's defaults; subsets are smaller where there are fewer images


def inception_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """Those of ``METRICS`` that are wanted, for uint8 images (N, 3, S, S) against uint8 reference images.

    KID's interval is that of the mean over its random subsets; the others have none. FID of few images is too large,
    by an amount that depends on their number: compare only at equal numbers.
    """
    from torch_fidelity import calculate_metrics

    wanted = settings.wanted(METRICS)
    found = calculate_metrics(
        input1=Subset(samples, range(len(samples))),
        input2=Subset(reference, range(len(reference))),
        cuda=settings.device.type == "cuda",
        fid="fid" in wanted,
        kid="kid" in wanted,
        prc="precision" in wanted or "recall" in wanted,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights_file(settings)),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=min(KID_SUBSET_SIZE, len(samples), len(reference)),
        prc_neighborhood=NEIGHBORHOOD,
        rng_seed=settings.seed,
        samples_shuffle=False,
        cache=False,
        verbose=False,
    )
    names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean"}
    result = {name: Estimate(float(found[names.get(name, name)])) for name in wanted}
    if "kid" in wanted:
        error = float(found["kernel_inception_distance_std"]) / KID_SUBSETS**0.5
        result["kid"] = Estimate.from_error(result["kid"].value, error)
    return result


def weights_file(settings: Settings) -> Path:
    """The file that the user named, or the library's cached one."""
    return settings.inception_weights or Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_NAME


def describe_inception(weights: Path) -> dict[str, str | int]:
    """What must be known to compare numbers."""
    return {
        "library": f"torch-fidelity {version('torch-fidelity')}",
        "network": "inception-v3-compat, pool features (2048)",
        "weights": weights.name,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "resize": "bilinear to 299x299 inside the network, as TensorFlow 1",
        "neighborhood": NEIGHBORHOOD,
    }


def no_inception(settings: Settings) -> str:
    """Why these metrics cannot be had here, and what would help; "" if they can. UserError for a file that was named
    and cannot be used."""
    path = weights_file(settings)
    if not installed("torch_fidelity"):
        return "torch-fidelity is not installed (pip install -r requirements-eval.txt)"
    if settings.fewest < LEAST:
        return f"it needs {LEAST} images on each side, and there are {settings.fewest}"
    if settings.inception_weights is None and not path.is_file():
        return (
            f"the Inception weights are not in torch's cache ({path}), and nothing is downloaded here. Put the file "
            f"{WEIGHTS_NAME} of torch-fidelity's release v0.2.0 there, or name it with --inception-weights"
        )
    # The library unpickles the file without restrictions, so it is proven harmless first.
    with suppress(BadCheckpoint):
        state = load_plain(path)
        if isinstance(state, dict) and "Mixed_7c.branch_pool.conv.weight" in state:
            return ""
    raise UserError(f"{path} does not hold the Inception weights of torch-fidelity ({WEIGHTS_NAME}), or is damaged.")

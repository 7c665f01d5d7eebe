"""How much of the known features of synthetic images the samples show, see data/synthetic.py, which the log of a
training run uses too."""

import torch
from torch import Tensor

from mindiffusion.data.synthetic import coefficients, recovery_of, two_feature_model
from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.settings import Row, Settings, per_image


def recovery_row(samples: Tensor, reference: Tensor, settings: Settings) -> Row:
    """recovery_coarse, recovery_fine and recovery_outside."""
    model = two_feature_model(samples.shape[-1], settings.synthetic_set)

    def found(images: Tensor) -> Tensor:
        coarse, fine, outside = coefficients(model, images)
        return torch.cat((coarse, fine, outside[:, None]), 1)

    parts = per_image(found, samples, settings.device).split([len(model.coarse), len(model.fine), 1], 1)
    return {f"recovery_{name}": Estimate(value) for name, value in recovery_of(model, *parts).items()}

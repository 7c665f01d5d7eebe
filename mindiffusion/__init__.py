"""Curriculum and sparsity for diffusion training: networks, diffusion processes and samplers.

    from mindiffusion import DDIM, NaiveUnet

Networks predict the noise in x_t from (x_t, t / n_T). A process holds a network: ``process(images)`` is its training
loss, ``process.sample(n, (3, 32, 32))`` draws images.
"""

from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.ddim import DDIM
from mindiffusion.ddpm import DDPM
from mindiffusion.dpm_solver import DPMSolver
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.reg_unet import RegNaiveUnet
from mindiffusion.sampling import Drawable, Sampler, draw
from mindiffusion.soft_curriculum_ddpm import SoftCurriculumDDPM
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.unet import NaiveUnet

__all__ = [
    "DDIM",
    "DDPM",
    "CurriculumDDPM",
    "DPMSolver",
    "Drawable",
    "NaiveUnet",
    "PreconditionedNaiveUnet",
    "RegNaiveUnet",
    "Sampler",
    "SoftCurriculumDDPM",
    "SparseNaiveUnet",
    "draw",
]

"""torchrun --nproc_per_node=1 train_celeba_p_32.py

P: the uniform control with a preconditioned network, which is asked only for what x_t alone does not tell.

The images come from CELEBA_PATH (.env or environment) or --data-path; grids go to contents_*/, checkpoints to
checkpoints_*/. Raise --nproc_per_node to use more GPUs: the result does not depend on it. The constants below are the
experiment, the flags its place and machine. `diff` of two training scripts shows what is scientifically different.
"""

import torch

from mindiffusion.config import Stage, parse_config
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.runtime.distributed import process_group
from mindiffusion.runtime.errors import run_script
from mindiffusion.training.loop import train

VARIANT = "p"
IMAGE_SIZE = 32  # pixels
N_FEAT = 32  # width of the network: 714,659 parameters
BETAS = (1e-4, 0.02)  # first and last beta of the linear schedule of Ho et al. 2020
N_T = 1000  # diffusion steps
GLOBAL_BATCH_SIZE = 256  # images per optimizer step, over all processes
LR = 2e-5  # Adam
STAGES = [  # t_min and t_max as fractions of N_T, name, epochs
    Stage(0.0, 1.0, "uniform", 80),
]


def main() -> None:
    """Train the variant as the constants above and the flags say."""
    config = parse_config(
        __doc__,
        variant=VARIANT,
        image_size=IMAGE_SIZE,
        n_feat=N_FEAT,
        betas=BETAS,
        n_T=N_T,
        global_batch_size=GLOBAL_BATCH_SIZE,
        lr=LR,
        stages=STAGES,
    )
    with process_group(config.device) as ranks:
        torch.manual_seed(config.seed)  # of the initial weights; everything later draws from runtime/rng.py
        net = PreconditionedNaiveUnet(3, 3, config.n_feat, config.betas, config.n_T)
        diffusion = CurriculumDDPM(net, config.betas, config.n_T)

        def start_stage(stage: int) -> None:
            """The stage rule: set the range of timesteps."""
            diffusion.set_time_range(config.stages[stage].t_min, config.stages[stage].t_max)

        train(config, ranks, net, diffusion, start_stage)


if __name__ == "__main__":
    run_script(main)

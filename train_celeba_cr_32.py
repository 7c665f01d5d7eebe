"""torchrun --nproc_per_node=1 train_celeba_cr_32.py

CR: the curriculum of C and Group L1 on all convolutions, whose weight lambda falls along a cosine to 0.

The images come from CELEBA_PATH (.env or environment) or --data-path; grids go to contents_*/, checkpoints to
checkpoints_*/. Raise --nproc_per_node to use more GPUs: the result does not depend on it. The constants below are the
experiment, the flags its place and machine. `diff` of two training scripts shows what is scientifically different.
"""

import torch

from mindiffusion.config import parse_config
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.reg_unet import RegNaiveUnet, lambda_schedule
from mindiffusion.runtime.command_line import run_script
from mindiffusion.runtime.distributed import process_group
from mindiffusion.stages import Stage
from mindiffusion.training.loop import train

VARIANT = "cr"
IMAGE_SIZE = 32  # pixels
N_FEAT = 32  # width of the network: 714,659 parameters
BETAS = (1e-4, 0.02)  # first and last beta of the linear schedule of Ho et al. 2020
N_T = 1000  # diffusion steps
GLOBAL_BATCH_SIZE = 256  # images per optimizer step, over all processes
LR = 2e-5  # learning rate
LAMBDA = lambda_schedule(5e-5, 5)  # from 5e-5 along a cosine down to 0
STAGES = [  # name, epochs, and the values that hold in the stage
    Stage("stage1_high_noise", 5, t_min=0.8, t_max=1.0, lam=LAMBDA[0]),
    Stage("stage2_expand", 10, t_min=0.6, t_max=1.0, lam=LAMBDA[1]),
    Stage("stage3_expand", 15, t_min=0.4, t_max=1.0, lam=LAMBDA[2]),
    Stage("stage4_expand", 20, t_min=0.2, t_max=1.0, lam=LAMBDA[3]),
    Stage("stage5_full_range", 30, t_min=0.0, t_max=1.0, lam=LAMBDA[4]),
]
CONSTANTS = {"penalty_method": "loss"}  # or "proximal": shrink the groups after each step, which gives exact zeros


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
        constants=CONSTANTS,
    )
    with process_group(config.device) as ranks:
        torch.manual_seed(config.seed)  # of the initial weights; everything later draws from runtime/rng.py
        net = RegNaiveUnet(3, 3, config.n_feat, CONSTANTS["penalty_method"])
        process = CurriculumDDPM(net, config.betas, config.n_T)
        optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)

        def start_stage(stage: Stage) -> None:
            """The stage rule: set the range of timesteps, and lower lambda."""
            process.set_time_range(stage.t_min, stage.t_max)
            net.set_lam(stage.lam)

        train(config, ranks, net, process, optimizer, start_stage, penalty=net.penalty, after_step=net.after_step)


if __name__ == "__main__":
    run_script(main)

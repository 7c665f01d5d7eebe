"""torchrun --nproc_per_node=1 train_celeba_g_32.py

G: a pilot. The inner levels first train on images of half the size, then the whole network on all of them.

The images come from CELEBA_PATH (.env or environment) or --data-path; grids go to contents_*/, checkpoints to
checkpoints_*/. Raise --nproc_per_node to use more GPUs: the result does not depend on it. The constants below are the
experiment, the flags its place and machine. `diff` of two training scripts shows what is scientifically different.
"""

import torch

from mindiffusion.config import parse_config
from mindiffusion.growing_unet import GrowingDDPM, GrowingUnet
from mindiffusion.runtime.command_line import run_script
from mindiffusion.runtime.distributed import process_group
from mindiffusion.stages import Stage
from mindiffusion.training.loop import train
from mindiffusion.training.schedule import Schedule

VARIANT = "g"
IMAGE_SIZE = 32  # pixels
N_FEAT = 32  # width of the network: 714,659 parameters
BETAS = (1e-4, 0.02)  # first and last beta of the linear schedule of Ho et al. 2020
N_T = 1000  # diffusion steps
GLOBAL_BATCH_SIZE = 256  # images per optimizer step, over all processes
LR = 2e-5  # learning rate
STAGES = [  # name, epochs, and the values that hold in the stage
    Stage("coarse", 50, t_min=0.0, t_max=1.0, coarse=1.0),
    Stage("fine", 60, t_min=0.0, t_max=1.0, coarse=0.0),
]
CONSTANTS = {}


def main() -> None:
    """Train the variant as the constants above and the flags say."""
    Schedule.lr = lr_by_cost
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
        net = GrowingUnet(3, 3, config.n_feat, config.betas, config.n_T)
        process = GrowingDDPM(net, config.betas, config.n_T)
        optimizer = torch.optim.Adam(net.parameters(), lr=config.lr, fused=True)

        def start_stage(stage: Stage) -> None:
            """The stage rule: set the range of timesteps."""
            process.set_time_range(stage.t_min, stage.t_max)
            net.coarse = bool(stage.coarse)

        train(config, ranks, net, process, optimizer, start_stage)


COST = 0.3  # of a step on images of half the size


def lr_by_cost(self, step: int) -> float:
    """Falls linearly with the work done, not with the steps."""
    costs = [COST if stage.coarse else 1.0 for stage in self.stages for _ in range(stage.epochs * self.steps_per_epoch)]
    return self.peak_lr * (1.0 - sum(costs[:step]) / sum(costs))


if __name__ == "__main__":
    run_script(main)

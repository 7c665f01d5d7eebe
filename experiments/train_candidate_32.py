"""torchrun --nproc_per_node=1 -m experiments.train_candidate_32

An experiment: the network of P, ranges of timesteps as C, and a weighted loss as S, all three at once. With stages of
the full range it is P with weights.
"""

import torch

from experiments.candidate_ddpm import CandidateDDPM
from mindiffusion.config import Stage, parse_config
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.runtime.distributed import process_group
from mindiffusion.runtime.errors import run_script
from mindiffusion.training.loop import train

VARIANT = "cp"
IMAGE_SIZE = 32  # pixels
N_FEAT = 32  # width of the network: 714,659 parameters
BETAS = (1e-4, 0.02)  # first and last beta of the linear schedule of Ho et al. 2020
N_T = 1000  # diffusion steps
GLOBAL_BATCH_SIZE = 256  # images per optimizer step, over all processes
LR = 2e-5  # Adam
STAGES = [  # t_min and t_max as fractions of N_T, name, epochs
    Stage(0.8, 1.0, "stage1_high_noise", 5),
    Stage(0.6, 1.0, "stage2_expand", 10),
    Stage(0.4, 1.0, "stage3_expand", 15),
    Stage(0.2, 1.0, "stage4_expand", 20),
    Stage(0.0, 1.0, "stage5_full_range", 30),
]
WEIGHT = "edm"  # of a timestep's loss: "edm" or "min_snr"
WEIGHT_SCHEDULE = (1.0, 0.75, 0.5, 0.25, 0.0)  # power of that weight, per stage


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
        diffusion = CandidateDDPM(net, config.betas, config.n_T, WEIGHT)

        def start_stage(stage: int) -> None:
            """The stage rule: set the range of timesteps, then the power of the weight."""
            diffusion.set_time_range(config.stages[stage].t_min, config.stages[stage].t_max)
            diffusion.set_power(WEIGHT_SCHEDULE[stage])

        train(config, ranks, net, diffusion, start_stage)


if __name__ == "__main__":
    run_script(main)

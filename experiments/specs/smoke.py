"""Every mechanism of the harness on synthetic data, in about five minutes on 2 CPU cores: 14 runs and their evaluation.
Its numbers mean nothing."""

from experiments.spec import Cell, Study, uniform
from mindiffusion.reg_unet import lambda_schedule

STAGES = ((0.8, 1, 1), (0.6, 1, 1), (0.4, 1, 1), (0.2, 1, 1), (0, 1, 1))
FIXED = {"STAGES.sparsity": [0.8] * 5}

STUDY = Study(
    cells=(
        Cell("uniform", "train_celeba_32", uniform(STAGES)),
        Cell("C", "train_celeba_c_32", STAGES),
        Cell("CS", "train_celeba_cs_32", STAGES),
        Cell("CS_random", "train_celeba_cs_32", STAGES, {"CONSTANTS.regrowth": "random"}),
        Cell("CS_fixed_level", "train_celeba_cs_32", STAGES, {**FIXED, "CONSTANTS.mask_scope": "level"}),
        Cell(
            "CR_proximal",
            "train_celeba_cr_32",
            STAGES,
            {"CONSTANTS.penalty_method": "proximal", "STAGES.lam": lambda_schedule(1.0, 5)},
        ),
    ),
    seeds=(0, 1),
    images=5 * 32,
    data_path="synthetic",
    flags=("--n-feat", "8", "--global-batch-size", "16", "--lr", "2e-3", "--num-samples", "0", "--device", "cpu"),
    evaluate=("--n-samples", "16", "--n-loss-images", "8", "--steps", "3", "--resamples", "0"),
)

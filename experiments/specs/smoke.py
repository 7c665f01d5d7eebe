"""Every mechanism of the harness in a few seconds on synthetic data. Its numbers mean nothing."""

from experiments.spec import Cell, Study, uniform

STAGES = ((0.8, 1, 1), (0.6, 1, 1), (0.4, 1, 1), (0.2, 1, 1), (0, 1, 1))
FIXED = {"SPARSITY_SCHEDULE": [0.8] * 5}

STUDY = Study(
    cells=(
        Cell("uniform", "train_celeba_32", uniform(STAGES)),
        Cell("C", "train_celeba_c_32", STAGES),
        Cell("CS", "train_celeba_cs_32", STAGES),
        Cell("CS_random", "train_celeba_cs_32", STAGES, {"REGROWTH_METHOD": "random"}),
        Cell("CS_fixed_level", "train_celeba_cs_32", STAGES, {**FIXED, "MASK_SCOPE": "level"}),
        Cell("CR_proximal", "train_celeba_cr_32", STAGES, {"PENALTY_METHOD": "proximal", "LAMBDA_MAX": 1.0}),
    ),
    seeds=(0, 1),
    images=5 * 32,
    data_path="synthetic",
    flags=("--n-feat", "8", "--global-batch-size", "16", "--lr", "2e-3", "--num-samples", "0", "--device", "cpu"),
    evaluate=("--n-samples", "16", "--n-loss-images", "8", "--steps", "3", "--resamples", "0"),
)

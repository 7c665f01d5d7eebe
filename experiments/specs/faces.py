"""The claims on faces at a budget where faces are faces: 256,000 images a run at n_feat 32, on one CPU core in half an
hour. Images 1-8000 of the folder are trained on, 8001-9000 evaluated.

The learning rate is 5e-4 at a batch of 64, not the brief's 2e-5 at 256, and falls linearly to 0 in every cell: 4,000
steps of 2e-5 would leave every network untrained. uniform_L1 and CS_fixed_level have not been run yet.
"""

from experiments.spec import Cell, Stages, Study, uniform

STAGES: Stages = ((0.8, 1, 2), (0.6, 1, 4), (0.4, 1, 6), (0.2, 1, 8), (0, 1, 12))  # the brief's 5:10:15:20:30
EQUAL: Stages = ((0, 1, 6), (0, 1, 6), (0, 1, 6), (0, 1, 7), (0, 1, 7))
FIXED = {"STAGES.sparsity": [0.8] * 5}

STUDY = Study(
    cells=(
        Cell("uniform", "train_celeba_32", uniform(STAGES)),
        Cell("C", "train_celeba_c_32", STAGES),
        Cell("CS", "train_celeba_cs_32", STAGES),
        Cell("CR", "train_celeba_cr_32", STAGES),
        Cell("P", "train_celeba_p_32", uniform(STAGES)),
        Cell("CP", "train_celeba_cp_32", STAGES),
        Cell("S", "train_celeba_s_32", EQUAL),
        Cell("uniform_L1", "train_celeba_cr_32", uniform(STAGES)),  # Group L1 as in CR, no curriculum
        Cell("CS_random", "train_celeba_cs_32", STAGES, {"CONSTANTS.regrowth": "random"}),
        Cell("CS_fixed_bottleneck", "train_celeba_cs_32", STAGES, FIXED),
        Cell("CS_fixed_level", "train_celeba_cs_32", STAGES, {**FIXED, "CONSTANTS.mask_scope": "level"}),
    ),
    seeds=(0, 1, 10),  # 0 to choose P and S, the others to confirm
    images=256_000,
    train_images="1-8000",
    eval_images="8001-9000",
    flags=(
        *("--n-feat", "32", "--global-batch-size", "64", "--lr", "5e-4", "--lr-schedule", "linear"),
        *("--precision", "bf16", "--compile", "--no-figures"),
    ),
    # The sampler of the tables that are there; evaluate.py's own is another by now.
    evaluate=(
        *("--num-samples", "1000", "--sampler", "ddim", "--eta", "1", "--steps", "100"),
        *("--precision", "bf16", "--compile"),
    ),
)

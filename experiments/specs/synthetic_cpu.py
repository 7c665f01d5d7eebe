"""The claims on the two-feature data, where recovery of coarse and fine features is measured exactly. 2 CPU cores."""

from experiments.spec import Cell, Study, uniform

FIXED = {"SPARSITY_SCHEDULE": [0.8] * 5}

STUDY = Study(
    cells=(
        Cell("uniform", "train_celeba_32", uniform()),
        Cell("C", "train_celeba_c_32"),
        Cell("CS", "train_celeba_cs_32"),
        Cell("CR", "train_celeba_cr_32"),
        Cell("CS_random", "train_celeba_cs_32", constants={"REGROWTH_METHOD": "random"}),
        Cell("CS_fixed_bottleneck", "train_celeba_cs_32", constants=FIXED),
        Cell("CS_fixed_level", "train_celeba_cs_32", constants={**FIXED, "MASK_SCOPE": "level"}),
    ),
    seeds=(0, 1, 2),
    images=25_600,
    data_path="synthetic",
    flags=(
        *("--n-feat", "16", "--global-batch-size", "16", "--lr", "2e-3", "--ema-decay", "0.995"),
        *("--num-samples", "0", "--precision", "bf16", "--compile", "--no-figures"),
    ),
    evaluate=("--n-samples", "300", "--steps", "20", "--n-loss-images", "100"),
    stage_cells=("uniform", "C"),
    evaluate_stages=(
        *("--metrics", "recovery", "swd", "--n-samples", "100", "--steps", "20"),
        *("--resamples", "0"),
    ),
)

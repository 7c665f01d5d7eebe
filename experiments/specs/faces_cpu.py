"""The claims on faces, at a budget for 2 CPU cores: 38,400 images a run, a twentieth of the brief's 720,000.

Images 1-8000 of the folder are trained on, 8001-9000 evaluated. The learning rate is 1e-3, not the brief's 2e-5: with
so few steps (1,200 of 32 images) the latter would leave every network untrained. faces_lambda_cpu.py goes on, with C5's
sweep of lambda, in the same output folder.
"""

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
    images=38_400,
    train_images="1-8000",
    eval_images="8001-9000",
    flags=(
        *("--n-feat", "16", "--global-batch-size", "32", "--lr", "1e-3", "--ema-decay", "0.995"),
        *("--num-samples", "0", "--precision", "bf16", "--compile", "--no-figures"),
    ),
    evaluate=("--n-samples", "500", "--steps", "20", "--n-loss-images", "100"),
    stage_cells=("uniform", "C"),
    evaluate_stages=(
        *("--metrics", "swd", "--n-samples", "100", "--steps", "20"),
        *("--resamples", "0"),
    ),
)

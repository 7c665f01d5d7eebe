"""The scripts as they stand: batch 256, learning rate 2e-5, constant, 80 epochs of images 1-8000, 640,000 in all.
On a GPU run `make gpu-check` first. One variant per GPU: --jobs with the number of GPUs.
"""

from experiments.spec import Cell, Stages, Study, uniform

STAGES: Stages = ((0.8, 1, 5), (0.6, 1, 10), (0.4, 1, 15), (0.2, 1, 20), (0, 1, 30))

STUDY = Study(
    cells=(
        Cell("uniform", "train_celeba_32", uniform(STAGES)),
        Cell("C", "train_celeba_c_32", STAGES),
        Cell("CS", "train_celeba_cs_32", STAGES),
        Cell("CR", "train_celeba_cr_32", STAGES),
        Cell("P", "train_celeba_p_32", uniform(STAGES)),
        Cell("CP", "train_celeba_cp_32", STAGES),
        Cell("S", "train_celeba_s_32", tuple((0, 1, 16) for _ in STAGES)),
    ),
    seeds=(0,),
    images=640_000,
    train_images="1-8000",
    eval_images="8001-9000",
    evaluate=("--num-samples", "1000"),
)

"""What makes the curriculum win, or why it cannot: share of epochs on the full range, union or window of noise levels,
pacing by patience, learning rate. On faces, every curriculum beside a control of the same images and learning rate.

Choose on seeds 0-2; confirm the chosen cell and its control on fresh ones: --cells uniform CHOSEN --seeds 10 11 12.
"""

from spec import Cell, Study, uniform, union, window

EPOCHS = 24  # of 1,600 images: fine enough for a last stage of three quarters
LONG = uniform(union(12, EPOCHS))


def cell(name: str, stages, script: str = "train_celeba_c_32", lr: str = "1e-3", paced_by: str = "") -> Cell:
    """A curriculum, or a control, at a learning rate."""
    return Cell(name, script, stages, flags=("--lr", lr), paced_by=paced_by)


STUDY = Study(
    cells=(
        cell("uniform", LONG, "train_celeba_32"),
        cell("C_full_6", union(6, EPOCHS)),
        cell("C_full_12", union(12, EPOCHS)),
        cell("C_full_16", union(16, EPOCHS)),
        cell("C_window_12", window(12, EPOCHS)),
        cell("C_window_16", window(16, EPOCHS)),
        cell("C_patient", union(6, EPOCHS), paced_by="C_full_6"),
        cell("uniform_lr_3e-3", LONG, "train_celeba_32", "3e-3"),
        cell("C_full_16_lr_3e-3", union(16, EPOCHS), lr="3e-3"),
        cell("uniform_lr_3e-4", LONG, "train_celeba_32", "3e-4"),
        cell("C_full_16_lr_3e-4", union(16, EPOCHS), lr="3e-4"),
    ),
    seeds=(0, 1, 2),
    images=38_400,
    train_images="1-8000",
    eval_images="8001-9000",
    flags=(
        *("--n-feat", "16", "--global-batch-size", "32", "--ema-decay", "0.995"),
        *("--num-samples", "0", "--precision", "bf16", "--compile", "--no-figures"),
    ),
    evaluate=("--n-samples", "500", "--steps", "20", "--n-loss-images", "100", "--weights", "ema"),
)

"""Where a run stands: the stage, epoch and step of every optimizer step, as functions of the step number alone."""

from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from mindiffusion.config import TrainConfig
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import make_generator


class Epoch(NamedTuple):
    """``number`` and ``steps`` count from 0 over the whole run; ``ends_stage``: whether it is the last of its stage."""

    stage: int
    number: int
    steps: range
    ends_stage: bool

    @property
    def done(self) -> int:
        """How many steps are done at its end."""
        return self.steps.stop


class Schedule:
    """The ``stages`` of a run over ``num_images`` images, and its steps of ``batch_size`` images over all processes.
    An epoch is every full global batch of a new permutation, or of its first ``config.images_per_epoch``; the images
    left over wait for another epoch's permutation."""

    def __init__(self, config: TrainConfig, num_images: int):
        size, per_epoch = config.global_batch_size, config.images_per_epoch or num_images
        if num_images < size:
            raise UserError(
                f"the data has {num_images} images, fewer than one global batch of {size}: "
                "lower --global-batch-size or point --data-path to more images."
            )
        if not size <= per_epoch <= num_images:
            raise UserError(
                f"--images-per-epoch is {per_epoch}; it must lie between one global batch, {size}, and the "
                f"{num_images} images of the data."
            )
        self.stages = config.stages
        self.batch_size = size
        self.num_images = num_images
        self.seed = config.seed
        self.peak_lr, self.lr_falls = config.lr, config.lr_schedule == "linear"
        self.steps_per_epoch = per_epoch // size
        self.first_epochs = [0, *accumulate(stage.epochs for stage in self.stages)]  # of each stage, and the end
        self.total_epochs = self.first_epochs[-1]
        self.total_steps = self.total_epochs * self.steps_per_epoch

    def position(self, step: int) -> tuple[int, int]:
        """(stage, epoch) of optimizer step ``step``, counted from 0 over the whole run. At a border those that begin
        there; past the last step, the number of stages and of epochs."""
        epoch = step // self.steps_per_epoch
        return sum(first <= epoch for first in self.first_epochs) - 1, epoch

    def epochs(self, first: int) -> Iterator[Epoch]:
        """The epochs from number ``first`` to the end of the run."""
        for number in range(first, self.total_epochs):
            steps = range(number * self.steps_per_epoch, (number + 1) * self.steps_per_epoch)
            stage, _ = self.position(steps[0])
            yield Epoch(stage, number, steps, number + 1 in self.first_epochs)

    def describe(self, step: int) -> str:
        """Where ``step`` lies, for people: "stage 2/5, epoch 7/80"."""
        stage, epoch = self.position(min(step, self.total_steps - 1))
        return f"stage {stage + 1}/{len(self.stages)}, epoch {epoch + 1}/{self.total_epochs}"

    def lr(self, step: int) -> float:
        """The learning rate of optimizer step ``step``: constant, or falling linearly to 0 at the end of the run."""
        return self.peak_lr * (1.0 - step / self.total_steps) if self.lr_falls else self.peak_lr

    def order(self, epoch: int) -> Tensor:
        """The permutation of the images (num_images,) in an epoch, on the CPU: the same for every device."""
        return torch.randperm(self.num_images, generator=make_generator(self.seed, "order", epoch))


def images_per_pass(config: TrainConfig, world_size: int) -> int:
    """Images of one forward pass of a process. UserError unless the global batch divides evenly among processes, and
    their share into such passes."""
    if config.global_batch_size % world_size:
        raise UserError(
            f"--global-batch-size {config.global_batch_size} does not divide by {world_size} processes: choose a "
            "multiple of the number of processes."
        )
    share = config.global_batch_size // world_size
    if config.micro_batch_size and share % config.micro_batch_size:
        raise UserError(
            f"--micro-batch-size {config.micro_batch_size} does not divide the {share} images that each of "
            f"{world_size} process(es) has per step: choose a divisor of {share}."
        )
    return config.micro_batch_size or share

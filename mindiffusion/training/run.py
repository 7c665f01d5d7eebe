"""What a run owns: weights, their average, the optimizer, the sums behind the next row of the log. Writes no file."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mindiffusion.checkpoints.checkpoint import BadCheckpoint, Found
from mindiffusion.checkpoints.same_run import check_same_run, optimizer_options
from mindiffusion.checkpoints.weights import Weights, init_parameters, load_state, read_weights
from mindiffusion.config import PLACES, TrainConfig
from mindiffusion.data.images import ImageData, device_images
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.plain_text import plain_lines
from mindiffusion.runtime.precision import memory_format
from mindiffusion.runtime.terminal import fit, paint
from mindiffusion.training.ema import Ema
from mindiffusion.training.meter import IntervalMeter
from mindiffusion.training.schedule import Schedule
from mindiffusion.unet import NaiveUnet


class Run:
    """The state of a run. ``config`` is resolved for the machine; ``net`` is the raw network, ``process`` is asked for
    its loss and its time range: both are moved to the device. ``found``: the checkpoint to go on from, if any.

    ``next_step`` is the first that this process does. ``saved_step`` and ``saved_path`` say which step the newest
    checkpoint would do next (-1: there is none) and where.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        data: ImageData,
        net: NaiveUnet,
        process: DDPM,
        optimizer: torch.optim.Optimizer,
        found: Found | None,
    ):
        self.config = config
        self.ranks = ranks
        self.data = data
        self.images = device_images(data, ranks.device)
        self.schedule = Schedule(config, len(data))
        self.net = net.to(ranks.device, memory_format=self.layout)
        self.process = process.to(ranks.device)
        self.optimizer = optimizer
        if others := {group["lr"] for group in optimizer.param_groups} - {config.lr}:
            raise UserError(
                f"the optimizer has a learning rate of {others.pop():g}: give it config.lr, here {config.lr:g}."
            )
        self.found = found
        self.ema: Ema | None = None
        self.meter = IntervalMeter(ranks)
        self.next_step = 0
        self.saved_step = -1
        self.saved_path: Path | None = None

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout of images and weights."""
        return memory_format(self.config.precision, self.ranks.device, bool(self.config.compile))

    @property
    def first_place(self) -> tuple[int, int]:
        """The stage and epoch to begin in: that of the last step done, which may have been killed before its grid was
        drawn."""
        return self.schedule.position(max(self.next_step - 1, 0))

    @property
    def sampling_net(self) -> NaiveUnet:
        """The averaged network; the trained one where no average is kept."""
        return self.ema.net if self.ema else self.net

    def go_uncompiled(self) -> None:
        """Bring the weights, their average and the moments into the layout of a step that is not compiled, in place."""
        self.config = replace(self.config, compile="")
        for net in {self.net, self.sampling_net}:
            net.to(memory_format=self.layout)
        lay_out_moments(self.optimizer)

    def restore(self) -> None:
        """Take the state from ``found``, or start anew. UserError if the checkpoint is of another run."""
        config, found = self.config, self.found
        if found:
            optimizer = optimizer_options(self._optimizer_state())
            network = {"class": type(self.net).__name__, **self.net.args}
            ours = {**config.identity(), "network": network, "optimizer": optimizer}
            check_same_run(found, ours, self.data.fingerprint)
        elif config.init_from:
            init_parameters(self.net, read_weights(Path(config.init_from)))
        if config.ema_decay:
            self.ema = Ema(self.net, config.ema_decay)
        if found:
            try:
                self._restore_state(found)
            except BadCheckpoint:  # says all of it
                raise
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
                raise BadCheckpoint(f"{found.path} does not fit this run: {first_line(error)}.") from error
            total = self.schedule.total_steps
            self.print_line(f"continuing {found.path} at step {self.next_step:,} of {total:,}")

    def _restore_state(self, found: Found) -> None:
        for net, kind in ((self.net, "model"), (self.ema and self.ema.net, "ema")):
            if net:
                load_state(net, Weights(found.path, found.content[kind], None, kind).state)
        load_optimizer(self.optimizer, found.content["optimizer"])
        self.meter.load_state(found.content["interval"])
        self.net.load_training_state(found.content["training_state"])
        self.next_step = self.saved_step = found.content["next_step"]
        self.saved_path = found.path

    def content(self, done: int, interval: dict[str, float]) -> dict[str, Any]:
        """The checkpoint after ``done`` steps, as checkpoint.py describes it. ``interval`` is meter.state()."""
        stage, epoch = self.schedule.position(done)
        return {
            "network": type(self.net).__name__,
            "args": self.net.args,
            "model": dict(self.net.state_dict()),
            "ema": dict(self.ema.net.state_dict()) if self.ema else None,
            "optimizer": self._optimizer_state(),
            "training_state": self.net.training_state(),
            "interval": interval,
            "t_stop": self.process.t_stop,
            "next_stage": stage,
            "next_epoch": epoch,
            "next_step": done,
            "config": {name: value for name, value in self.config.to_dict().items() if name not in PLACES},
            "data": self.data.fingerprint,
        }

    def _optimizer_state(self) -> dict[str, Any]:
        return {"name": type(self.optimizer).__name__, **self.optimizer.state_dict()}

    def print_line(self, text: str, style: str = "") -> None:
        """Print on rank 0, above the bar."""
        if self.ranks.is_main:
            text = fit(plain_lines(text), sys.stdout)
            tqdm.write(paint(text, style, sys.stdout) if style else text)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Go on from ``state``, which may have been saved on another kind of device. Its options stay its own."""
    saved, own = state["param_groups"], optimizer.state_dict()["param_groups"]
    groups = [{**mine, "params": theirs["params"]} for theirs, mine in zip(saved, own, strict=True)]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    for parameter, moments in optimizer.state.items():
        for moment in moments.values():
            if isinstance(moment, Tensor) and moment.dim() and moment.shape != parameter.shape:
                raise ValueError("a moment of the optimizer has not the shape of its weight")
    lay_out_moments(optimizer)


def lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give every moment the strides of its parameter. Fused Adam walks through both in step and does not look: on a CPU
    other strides give wrong updates without a word, on a GPU an error."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

"""What a run owns: weights, their average, the optimizer, the sums behind the next row of the log. Writes no file."""

import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mindiffusion.checkpoints.checkpoint import BadCheckpoint, Found
from mindiffusion.checkpoints.foreign import check_checkpoint
from mindiffusion.checkpoints.same_run import check_same_run, optimizer_options
from mindiffusion.checkpoints.weights import Weights, check_finite, init_parameters, load_state, read_weights
from mindiffusion.config import PLACES, TrainConfig
from mindiffusion.data.images import ImageData
from mindiffusion.ddpm import DDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError, first_line
from mindiffusion.runtime.plain_text import plain_lines
from mindiffusion.runtime.terminal import fit, paint
from mindiffusion.training.acceleration import load_optimizer
from mindiffusion.training.ema import Ema
from mindiffusion.training.meter import IntervalMeter
from mindiffusion.training.schedule import Schedule
from mindiffusion.unet import NaiveUnet


class Run:
    """The state of a run. ``net`` is the raw network; ``process`` is asked for its loss and its time range.

    ``saved_step`` and ``saved_path`` say which step the newest checkpoint would do next (-1: there is none) and where.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        schedule: Schedule,
        data: ImageData,
        net: NaiveUnet,
        process: DDPM,
        optimizer: torch.optim.Optimizer,
    ):
        self.config = config
        self.ranks = ranks
        self.schedule = schedule
        self.data = data
        self.net = net
        self.process = process
        self.optimizer = optimizer
        self.ema: Ema | None = None
        self.meter = IntervalMeter(ranks)
        self.saved_step = -1
        self.saved_path: Path | None = None

    def restore(self, found: Found | None) -> int:
        """Take the state from a checkpoint, or start anew. Returns the step to do next.

        UserError, with nothing changed, if the checkpoint is of another run.
        """
        next_step = 0
        if found:
            check_checkpoint(found.path, found.content)
            if found.content["network"] != type(self.net).__name__:
                raise UserError(
                    f"{found.path} holds a {found.content['network']}, this script trains a {type(self.net).__name__}."
                )
            optimizer = optimizer_options(self._optimizer_state())
            identity = {**self.config.identity(), "network": self.net.args, "optimizer": optimizer}
            check_same_run(found, identity, self.data.fingerprint, TrainConfig.defaults())
            next_step = found.content["next_step"]
        elif self.config.init_from:
            init_parameters(self.net, read_weights(Path(self.config.init_from)))
        if self.config.ema_decay:
            self.ema = Ema(self.net, self.config.ema_decay)
        if found:
            try:
                self._restore_state(found)
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
                raise BadCheckpoint(f"{found.path} does not fit this run: {first_line(error)}.") from error
            self.say(f"continuing {found.path} at step {next_step:,} of {self.schedule.total_steps:,}")
        return next_step

    def _restore_state(self, found: Found) -> None:
        for net, kind in ((self.net, "model"), (self.ema and self.ema.net, "ema")):
            if net:
                check_finite(Weights(found.path, found.content[kind], None, kind))
                load_state(net, found.content[kind])
        load_optimizer(self.optimizer, found.content["optimizer"])
        self.meter.load_state(found.content["interval"])
        self.net.load_training_state(found.content["training_state"])
        self.saved_step, self.saved_path = found.content["next_step"], found.path

    def content(self, done: int, interval: dict[str, float]) -> dict[str, Any]:
        """The checkpoint after ``done`` steps, as checkpoint.py describes it. ``interval`` is meter.state()."""
        position = self.schedule.position(done)
        return {
            "network": type(self.net).__name__,
            "args": self.net.args,
            "model": dict(self.net.state_dict()),
            "ema": dict(self.ema.net.state_dict()) if self.ema else None,
            "optimizer": self._optimizer_state(),
            "training_state": self.net.training_state(),
            "interval": interval,
            "t_stop": self.process.t_stop,
            "next_stage": position.stage,
            "next_epoch": position.epoch,
            "next_step": position.step,
            "config": {name: value for name, value in self.config.to_dict().items() if name not in PLACES},
            "data": self.data.fingerprint,
        }

    def _optimizer_state(self) -> dict[str, Any]:
        return {"name": type(self.optimizer).__name__, **self.optimizer.state_dict()}

    def ema_weight(self, step: int) -> float:
        """How far the moving average goes towards the weights in optimizer step ``step``."""
        return self.ema.weight(step) if self.ema else 0.0

    @property
    def sampling_net(self) -> NaiveUnet:
        """The averaged network; the trained one where no average is kept."""
        return self.ema.net if self.ema else self.net

    def say(self, text: str, style: str = "") -> None:
        """Print a line on rank 0, above the bar."""
        if self.ranks.is_main:
            text = fit(plain_lines(text), sys.stdout)
            tqdm.write(paint(text, style, sys.stdout) if style else text)

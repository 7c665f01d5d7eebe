"""What a run owns: weights, their average, the optimizer, the sums behind the next row of the log. Writes no file."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mindiffusion.checkpoints.checkpoint import Found, check_same_run
from mindiffusion.checkpoints.weights import init_parameters, read_weights
from mindiffusion.config import TrainConfig
from mindiffusion.data.images import ImageData
from mindiffusion.ddpm import DDPM
from mindiffusion.reports.metrics_log import IntervalMeter
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.plain_text import plain_lines
from mindiffusion.runtime.terminal import fit, paint
from mindiffusion.training.acceleration import load_optimizer, make_optimizer
from mindiffusion.training.ema import Ema
from mindiffusion.training.schedule import Schedule


class Run:
    """The state of a run. ``net`` is the raw network; ``diffusion`` is asked for its time range.

    ``saved_step`` and ``saved_path`` say which step the newest checkpoint would do next (-1: there is none) and where.
    """

    def __init__(
        self, config: TrainConfig, ranks: Ranks, schedule: Schedule, data: ImageData, net: nn.Module, diffusion: DDPM
    ):
        self.config = config
        self.ranks = ranks
        self.schedule = schedule
        self.data = data
        self.net = net
        self.diffusion = diffusion
        self.ema: Ema | None = None
        self.optimizer = make_optimizer(net, config.lr)
        self.meter = IntervalMeter(ranks)
        self.saved_step = -1
        self.saved_path: Path | None = None

    def restore(self, found: Found | None) -> int:
        """Take the state from a checkpoint, or start anew. Returns the step to do next.

        UserError, with nothing changed, if the checkpoint is of another run.
        """
        next_step = 0
        if found:
            check_same_run(found, self.config.identity(), self.data.fingerprint, TrainConfig.defaults())
            if found.content["network"] != type(self.net).__name__:
                raise UserError(f"{found.path} holds a {found.content['network']}, to be sampled from, not resumed.")
            next_step = found.content["next_step"]
            self.net.load_state_dict(found.content["model"])
        elif self.config.init_from:
            init_parameters(self.net, read_weights(Path(self.config.init_from)))
        if self.config.ema_decay:
            self.ema = Ema(self.net, self.config.ema_decay)
        if found:
            self._restore_rest(found)
            self.say(f"continuing {found.path} at step {next_step:,} of {self.schedule.total_steps:,}")
        return next_step

    def _restore_rest(self, found: Found) -> None:
        if self.ema:
            self.ema.net.load_state_dict(found.content["ema"])
        load_optimizer(self.optimizer, found.content["optimizer"])
        self.meter.load_state(found.content["interval"])
        for name, value in (found.content["regrowth"] or {}).items():
            self.net.get_buffer(name).copy_(value)
        self.saved_step, self.saved_path = found.content["next_step"], found.path

    def content(self, done: int, interval: dict[str, float]) -> dict[str, Any]:
        """The checkpoint after ``done`` steps, as checkpoint.py describes it. ``interval`` is meter.state()."""
        position = self.schedule.position(done)
        regrowth = None
        if self.config.sparsity_schedule:
            regrowth = {name: self.net.get_buffer(name).clone() for name in ("gradient_sum", "gradient_steps")}
        return {
            "network": type(self.net).__name__,
            "model": dict(self.net.state_dict()),
            "ema": dict(self.ema.net.state_dict()) if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "regrowth": regrowth,
            "interval": interval,
            "next_stage": position.stage,
            "next_epoch": position.epoch,
            "next_step": position.step,
            "config": self.config.to_dict(),
            "data": self.data.fingerprint,
        }

    def optimizer_step(self, lr: float) -> Tensor:
        """Step Adam at this learning rate and clear the gradients; returns the L2 norm of the whole gradient, a scalar
        on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        gradients = [p.grad for p in self.net.parameters()]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def ema_weight(self, step: int) -> float:
        """How far the moving average goes towards the weights in optimizer step ``step``."""
        return self.ema.weight(step) if self.ema else 0.0

    @property
    def sampling_net(self) -> nn.Module:
        """The averaged network; the trained one where no average is kept."""
        return self.ema.net if self.ema else self.net

    def say(self, text: str, style: str = "") -> None:
        """Print a line on rank 0, above the bar."""
        if self.ranks.is_main:
            text = fit(plain_lines(text), sys.stdout)
            tqdm.write(paint(text, style, sys.stdout) if style else text)

"""python -m benchmarks.contenders NAME OPTIONS: one training loop in a process of its own, driven by throughput.py.

It builds its loop, then for each line "K" on stdin trains K steps and answers with a line of JSON on stdout:
{"images": ..., "seconds": ..., "memory": ...}. NAME is a key of CONTENDERS, OPTIONS a JSON dict.
"""

import importlib.util
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import torch

from benchmarks.bare import DEVICE, make_bare_step, synchronize
from mindiffusion.data.images import ImageData
from mindiffusion.ddpm import DDPM
from mindiffusion.training import loop as training
from mindiffusion.training.saver import Saver
from mindiffusion.unet import NaiveUnet

ROOT = Path(__file__).parents[1]
Loop = Callable[[int], None]  # trains so many steps
WORKERS = max(2, min(16, os.cpu_count() or 1))
LR = 2e-5
CELEBA_IMAGES = 202_599


class Pace:
    """Runs a loop as far as stdin says, and answers with the time it took."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print must not mix with the answers

    def next_steps(self) -> int:
        """Wait for an order; ends the process when there are no more."""
        line = sys.stdin.readline()
        if not line.strip():
            os._exit(0)  # at once, with all that a loop holds: data loaders, run folders
        synchronize()
        self.began = time.perf_counter()
        self.steps = int(line)
        return self.steps

    def answer(self) -> None:
        """Report that the ordered steps are done."""
        synchronize()
        seconds = time.perf_counter() - self.began
        report = {"images": self.steps * self.batch_size, "seconds": seconds, "memory": peak_memory()}
        self.answers.write(json.dumps(report) + "\n")
        self.answers.flush()


def peak_memory() -> int:
    """Bytes: of the GPU's allocator, or of this process."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def published_style(options: dict) -> Loop:
    """(a) How published DDPM repositories train: ImageFolder, DataLoader workers, eager fp32, ``.item()`` each step."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    size, batch = options["image_size"], options["batch_size"]
    transform = transforms.Compose(
        [transforms.Resize((size, size)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )
    data = ImageFolder(options["data_path"], transform)
    loader = torch.utils.data.DataLoader(
        data, batch, shuffle=True, num_workers=WORKERS, drop_last=True, pin_memory=DEVICE.type == "cuda"
    )
    diffusion = DDPM(NaiveUnet(3, 3, options["n_feat"])).to(DEVICE)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=LR)
    batches = chain.from_iterable(repeat(loader))

    def loop(steps: int) -> None:
        for _ in range(steps):
            images, _ = next(batches)
            optimizer.zero_grad()
            loss = diffusion(images.to(DEVICE))
            loss.backward()
            loss.item()
            optimizer.step()

    return loop


class PluggedUnet(NaiveUnet):
    """NaiveUnet with what denoising-diffusion-pytorch asks of a model."""

    channels = out_dim = 3
    self_condition = False

    def forward(self, x: torch.Tensor, t: torch.Tensor, x_self_cond: None = None) -> torch.Tensor:
        return super().forward(x, t.float() / 1000)


def denoising_diffusion_pytorch(options: dict) -> Loop:
    """(b) The Trainer of the denoising-diffusion-pytorch package around this program's network."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer

    model = PluggedUnet(3, 3, options["n_feat"])
    diffusion = GaussianDiffusion(
        model, image_size=options["image_size"], objective="pred_noise", beta_schedule="linear"
    )
    trainer = Trainer(
        diffusion,
        options["data_path"],
        train_batch_size=options["batch_size"],
        train_lr=LR,
        train_num_steps=0,
        save_and_sample_every=10**9,
        results_folder=tempfile.mkdtemp(),
        calculate_fid=False,
        amp=DEVICE.type == "cuda",
        mixed_precision_type="bf16",
    )

    def loop(steps: int) -> None:
        trainer.train_num_steps = trainer.step + steps
        trainer.train()

    return loop


def ours(script: str, *flags: str) -> Callable[[dict], None]:
    """The program itself: its script, its loop; only the end of a step waits for orders."""

    def build(options: dict) -> None:
        pace: Pace = options["pace"]
        finish_step = Saver.finish_step
        left = pace.next_steps()

        def finish_and_wait(self, *args) -> None:
            nonlocal left
            finish_step(self, *args)
            left -= 1
            if left == 0:
                pace.answer()
                left = pace.next_steps()

        Saver.finish_step = finish_and_wait
        launch(script, options, flags)

    return build


def launch(script: str, options: dict, flags: tuple[str, ...]) -> None:
    """Run a training script as its command line would, for ever."""
    path = ROOT / f"{script}.py"
    spec = importlib.util.spec_from_file_location(script, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = {
        "data-path": options["train_path"],
        "global-batch-size": options["batch_size"],
        "n-feat": options["n_feat"],
        "image-size": options["image_size"],
        "output-dir": tempfile.mkdtemp(),
        "num-samples": options.get("num_samples", 0),
    }
    if DEVICE.type == "cuda":
        training.load_images = as_many_as_celeba(training.load_images)
    stages = "9999" if script == "train_celeba_32" else "9999 1 1 1 1"
    given = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    sys.argv = [str(path), *given, "--epochs-per-stage", *stages.split(), *flags, *options.get("flags", [])]
    module.main()


def as_many_as_celeba(load_images: Callable[..., ImageData]) -> Callable[..., ImageData]:
    """Loads the images as often as an epoch of CelebA takes. On a GPU an epoch of a few thousand lasts a fraction of a
    second, and what a run does at the end of each would be most of its time, as in no real run."""

    def load(*args, **kwargs) -> ImageData:
        data = load_images(*args, **kwargs)
        return replace(data, images=data.images.repeat(-(-CELEBA_IMAGES // len(data)), 1, 1, 1))

    return load


def bare_step(options: dict) -> Loop:
    """(f) The step of "ours full" on one batch that is there already: no data, no noise, no log, no checkpoint."""
    step = make_bare_step(options["n_feat"], options["image_size"], options["batch_size"])

    def loop(steps: int) -> None:
        for _ in range(steps):
            step()

    return loop


CONTENDERS = {
    "a": published_style,
    "b": denoising_diffusion_pytorch,
    "d": ours("train_celeba_c_32", "--precision", "fp32", "--no-compile"),
    "e": ours("train_celeba_c_32"),
    "e_cs": ours("train_celeba_cs_32"),
    "e_cr": ours("train_celeba_cr_32"),
    "f": bare_step,
}


def main() -> None:
    """Build the loop, then obey."""
    name, options = sys.argv[1], json.loads(sys.argv[2])
    pace = Pace(options["batch_size"])
    torch.manual_seed(0)
    loop = CONTENDERS[name]({**options, "pace": pace})
    while True:
        loop(pace.next_steps())
        pace.answer()


if __name__ == "__main__":
    main()

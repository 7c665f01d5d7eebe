"""What only a GPU can show; ``make gpu-check`` runs these. With GPU_REHEARSAL=1 they run on the CPU instead, shorter
and for one variant, which shows that they can pass and that they can fail."""

import csv
import os
import subprocess
import sys
from math import isfinite

import pytest
import torch
from helpers import (
    ALL_SCRIPTS,
    ROOT,
    SCRIPTS,
    assert_close_curves,
    checkpoints,
    contents,
    launch,
    launch_until,
    metrics,
)

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.data.images import get_batch
from mindiffusion.data.synthetic import synthetic_images
from mindiffusion.reports.row_file import read_rows
from mindiffusion.runtime.precision import resolve_precision

ON_GPU = torch.cuda.is_available()
REHEARSAL = not ON_GPU and bool(os.environ.get("GPU_REHEARSAL"))
DEVICE = "cuda" if ON_GPU else "cpu"
NAMES = SCRIPTS if ON_GPU else SCRIPTS[:1]
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not ON_GPU and not REHEARSAL, reason="needs a CUDA GPU: make gpu-check"),
]
AUTO = resolve_precision("auto", torch.device(DEVICE if ON_GPU else "cpu"))  # a T4 has no bf16
PRECISIONS = ("fp32", "bf16") if AUTO == "bf16" else ("fp32",)
gpu_only = pytest.mark.skipif(not ON_GPU, reason="needs a CUDA GPU")
FP32 = ("--device", DEVICE, "--precision", "fp32")
# Relative differences of loss and gradient norm that rounding makes, with room: on a Xeon 1e-5 and 3e-3, 7e-4 and 7e-3.
COMPILED, AFTER_20_STEPS = (1e-4, 2e-2), (5e-3, 3e-2)
TIMES = 200 if ON_GPU else 40  # steps of the runs whose loss curves are compared


@pytest.mark.parametrize("where", [DEVICE, "cpu"])  # the images lie: a GPU may have no room for them
def test_a_batch_is_that_of_the_cpu(where):
    images, indices, flips = synthetic_images(50, 32, seed=0), torch.arange(49, 0, -3), torch.arange(17) % 2 == 0
    batch = get_batch(images.to(where), indices.to(where), flips.to(where), torch.device(DEVICE))
    assert batch.device.type == DEVICE
    assert torch.allclose(batch.cpu(), get_batch(images, indices, flips, torch.device("cpu")), atol=1e-6)


def longer(name: str) -> tuple[str, ...]:
    """Flags for stages of 9 steps: CUDA graphs are recorded in the first ones."""
    return ("--epochs-per-stage", *["3"] * (1 if name == SCRIPTS[0] else 5))


@gpu_only  # a CPU's compiled step has its own tests
@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_step_trains_as_the_eager_one(name, tmp_path):
    launch(name, tmp_path / "eager", *FP32, "--no-compile")
    launch(name, tmp_path / "compiled", *FP32, "--compile")
    assert_close_curves(metrics(name, tmp_path / "compiled"), metrics(name, tmp_path / "eager"), COMPILED)


@gpu_only
@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_step_trains_as_the_compiled_one_and_is_used(name, tmp_path, capsys):
    launch(name, tmp_path / "compiled", *FP32, "--compile", *longer(name))
    capsys.readouterr()
    launch(name, tmp_path / "recorded", *FP32, "--compile", "reduce-overhead", *longer(name))
    assert "going on uncompiled" not in capsys.readouterr().err
    assert_close_curves(metrics(name, tmp_path / "recorded"), metrics(name, tmp_path / "compiled"))


@gpu_only
@pytest.mark.parametrize("name", ALL_SCRIPTS)
def test_the_default_path_of_a_gpu_runs_to_its_end(name, tmp_path, capsys):
    """Compiled, in bf16 where the GPU has it, with grids."""
    launch(name, tmp_path, "--device", "cuda", "--num-samples", "4", "--sample-steps", "3")
    out = capsys.readouterr().out
    assert "self-check: " in out and f"{AUTO}, compiled, and equal to eager" in out
    assert "capturable" not in out


@pytest.mark.parametrize("name", NAMES)
def test_a_run_goes_from_cpu_to_gpu_and_back(name, tmp_path):
    """Noise differs between the devices, so the losses agree as two seeds' do; a moment in a wrong layout would not."""
    launch(name, tmp_path / "whole", "--device", "cpu", *longer(name))
    total = load_checkpoint(checkpoints(name, tmp_path / "whole") / "latest.pt")["next_step"]
    for device, stop in (("cpu", 3), (DEVICE, 6), ("cpu", None)):
        flags = ("--device", device, "--precision", "fp32", "--no-compile", "--resume", *longer(name))
        if stop is not None:
            launch_until(stop, name, tmp_path / "moved", *flags)
        else:
            launch(name, tmp_path / "moved", *flags)
    assert load_checkpoint(checkpoints(name, tmp_path / "moved") / "latest.pt")["next_step"] == total
    ours, theirs = (float(metrics(name, tmp_path / folder)[-1]["loss"]) for folder in ("moved", "whole"))
    assert ours == pytest.approx(theirs, rel=0.5)


def train(name: str, folder, *flags: str, processes: int = 1) -> list[dict[str, str]]:
    """The rows of metrics.csv of the real script in a process of its own, or under torchrun."""
    epochs = TIMES // 20
    stages = [epochs] if name == SCRIPTS[0] else [epochs // 5] * 5
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, f"{name}.py", "--data-path", "synthetic", "--output-dir", str(folder)]
    command += ["--n-feat", "8", "--global-batch-size", "32", "--images-per-epoch", "640", "--lr", "2e-3"]
    command += ["--num-samples", "0", "--no-figures", "--epochs-per-stage", *map(str, stages), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return read_rows(contents(name, folder) / "metrics.csv")[0]


def end(rows: list[dict[str, str]]) -> float:
    """The mean loss of the last quarter of a run."""
    last = [float(row["mse"]) for row in rows][-max(1, len(rows) // 4) :]
    return sum(last) / len(last)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_path_learns_as_the_cpu_does(name, tmp_path):
    """The loss curve against the CPU's in fp32, eager. Another seed in the rehearsal, where all else is equal."""
    ours = train(name, tmp_path / "ours", "--device", DEVICE, *(() if ON_GPU else ("--seed", "1")))
    theirs = train(name, tmp_path / "cpu", "--device", "cpu", "--precision", "fp32", "--no-compile")
    assert int(ours[-1]["step"]) == int(theirs[-1]["step"]) == TIMES
    assert float(ours[-1]["mse"]) < float(ours[0]["mse"])
    assert end(ours) == pytest.approx(end(theirs), rel=0.15 if ON_GPU else 0.3)


def test_what_is_drawn_and_measured_of_a_run_is_finite_in_every_precision(tmp_path):
    """sample.py and evaluate.py as a user starts them."""
    name = ALL_SCRIPTS[4]  # P, whose network keeps tables of the timesteps
    launch(name, tmp_path, "--device", DEVICE)
    run = str(checkpoints(name, tmp_path))
    for precision in PRECISIONS:
        drawn = f"sample.py {run} -o {tmp_path}/{precision}.png -n 8 --steps 4"
        shown = f"evaluate.py {run} --data-path synthetic --num-samples 8 --steps 4 --resamples 0 --num-loss-images 4"
        shown += f" --metrics swd loss bpd --no-plots --output-dir {tmp_path}/{precision}"
        for words in (drawn, shown):
            command = [sys.executable, *words.split(), "--device", DEVICE, "--precision", precision]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        assert (tmp_path / f"{precision}.png").stat().st_size > 1000
        rows = list(csv.DictReader((tmp_path / precision / "evaluation.csv").read_text().splitlines()))
        assert len(rows) == 1 and all(isfinite(float(rows[0][metric])) for metric in ("swd", "loss", "bpd"))


two_gpus = pytest.mark.skipif(ON_GPU and torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")


@two_gpus
@gpu_only
@pytest.mark.parametrize("name", NAMES)
def test_the_default_path_of_two_ranks_learns_as_that_of_one(name, tmp_path):
    """On GPUs NCCL, DDP, bf16 and compiled."""
    one, two = (train(name, tmp_path / str(count), "--device", DEVICE, processes=count) for count in (1, 2))
    assert end(two) == pytest.approx(end(one), rel=0.15)


@two_gpus
@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_train_what_one_trains(name, tmp_path):
    flags = ("--device", DEVICE, "--precision", "fp32", "--no-compile")
    one, two = train(name, tmp_path / "one", *flags), train(name, tmp_path / "two", *flags, processes=2)
    assert_close_curves(two[:1], one[:1], AFTER_20_STEPS)
    assert end(two) == pytest.approx(end(one), rel=0.15)

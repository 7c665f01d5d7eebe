"""What else throughput.py can measure. Each section takes (args, scratch folder) and returns rows of its table."""

import functools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.bare import DEVICE, make_bare_step, synchronize
from mindiffusion.data.image_cache import cached_images
from mindiffusion.data.image_files import find_images
from mindiffusion.ddim import DDIM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.precision import memory_format, resolve_precision, set_backend_flags
from mindiffusion.sampling import denoiser
from mindiffusion.unet import NaiveUnet

NAN = float("nan")
COLUMNS = ("section", "data", "name", "meaning", "images_per_s", "over_a", "turns", "low", "high", "memory_mib")
CLASSES = {  # of kernels, by a part of their name; the first that fits
    "convolutions": ("conv", "cudnn", "gemm", "cutlass", "xmma", "sm90", "sm80", "implicit"),
    "normalisation and its fused neighbours": ("norm", "rsqrt", "welford"),
    "pooling": ("pool", "avg"),
    "optimizer and average": ("adam", "foreach", "multi_tensor", "lerp"),
    "copies and casts": ("copy", "memcpy", "memset", "cat", "fill", "zero"),
}


def row(section: str, name: str, meaning: str, *rates: float, memory: float = 0.0, data: str = "", over_a: float = NAN):
    """A line of the table, by COLUMNS; ``rates`` of its turns, in the unit that ``meaning`` says; memory in MiB."""
    turns = (statistics.median(rates), over_a, len(rates), min(rates), max(rates))
    return dict(zip(COLUMNS, (section, data, name, meaning, *turns, memory), strict=True))


def median_time(work, repeats: int) -> float:
    """Seconds of the median call, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        synchronize()
        began = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def sampling(args, scratch: str) -> list[dict]:
    """A grid of 64 images in 50 DDIM steps, as the program draws it, and on a GPU compiled too (sample.py --compile).
    On a CPU 2 steps are timed and multiplied."""
    rows = []
    on_gpu = DEVICE.type == "cuda"
    steps = 50 if on_gpu else 2
    shape = (3, args.image_size, args.image_size)
    for precision in dict.fromkeys(("fp32", resolve_precision("auto", DEVICE, long_run=True))):
        set_backend_flags(precision, DEVICE)
        for compiled in (False, True) if on_gpu else (False,):
            layout = memory_format(precision, DEVICE, compiled)
            net = NaiveUnet(3, 3, args.n_feat).to(DEVICE, memory_format=layout).eval()
            # No autocast around it: the casts of the weights, which every call pays for, would be kept from the first.
            sampler = DDIM(denoiser(net, precision, DEVICE, compiled), steps=steps).to(DEVICE)
            seconds = median_time(functools.partial(sampler.sample, 64, shape), repeats=3)
            name = "compiled" if compiled else "eager"
            rows.append(
                row("sampling", precision, f"{name}, 64 images x 50 steps, images/s", 64 / (seconds * 50 / steps))
            )
    return rows


def cache(args, scratch: str) -> list[dict]:
    """Decoding a folder into the cache of raw pixels, once per data set."""
    if not args.data_path:
        return []
    folder = find_images(args.data_path)
    before, os.environ["MINDIFFUSION_CACHE"] = os.environ["MINDIFFUSION_CACHE"], str(Path(scratch, "cache"))
    began = time.perf_counter()
    cached_images(folder, args.image_size, "square", False, Ranks())
    seconds = time.perf_counter() - began
    os.environ["MINDIFFUSION_CACHE"] = before
    count = len(folder.files)
    return [row("cache", str(count), "decode, crop, shrink and write, images/s", count / seconds)]


def checkpoint(args, scratch: str) -> list[dict]:
    """The state of a run written as latest.pt is, as a share of the default interval of ten minutes."""
    net = NaiveUnet(3, 3, args.n_feat).to(DEVICE)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    content = {"model": net.state_dict(), "ema": net.state_dict(), "optimizer": optimizer.state_dict()}
    path = Path(scratch, "latest.pt")

    def save() -> None:
        with open(path, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())

    seconds = median_time(save, 5)
    return [
        row("checkpoint", "seconds", "one write with fsync, s", seconds),
        row("checkpoint", "share", "of training time at the default interval, %", 100 * seconds / 600),
    ]


def scaling(args, scratch: str) -> list[dict]:
    """The default path on one process and on two, with half of the threads each on a CPU: the same global batch."""
    most = torch.cuda.device_count() if DEVICE.type == "cuda" else 2
    batch = str(args.batch_size if DEVICE.type == "cuda" else 32)
    rows = []
    for count in [1, 2] if most >= 2 else [1]:
        output = Path(scratch, f"scaling{count}")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        command += ["train_celeba_c_32.py", "--data-path", "synthetic", "--num-samples", "0", "--no-figures"]
        command += ["--output-dir", str(output), "--n-feat", str(args.n_feat), "--global-batch-size", batch]
        command += ["--epochs-per-stage", "99", "1", "1", "1", "1"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        job = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=environment, **quiet)
        time.sleep(60 if args.quick else 120)  # it compiles first
        job.terminate()
        job.wait()
        metrics = next(output.glob("contents*/metrics.csv")).read_text().splitlines()
        column = metrics[0].split(",").index("images_per_s")
        speeds = [float(line.split(",")[column]) for line in metrics[1:]] or [NAN]
        rows.append(row("scaling", str(count), f"process(es), global batch {batch}, images/s", *speeds))
    return rows


def growth(args, scratch: str) -> list[dict]:
    """The bare step, larger and larger: image size at n_feat 32, n_feat at 32x32. Uncompiled on a CPU, for time."""
    rows = []
    for n_feat, size in ((32, 32), (32, 64), (32, 128), (64, 32), (128, 32)):
        batch = 256 if DEVICE.type == "cuda" else max(4, 64 * 32 * 32 * 32 // (n_feat * size * size))
        step = make_bare_step(n_feat, size, batch, compiled=DEVICE.type == "cuda")
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            for _ in range(5):
                step()
        seconds = median_time(step, 3)
        memory = torch.cuda.max_memory_allocated() / 2**20 if DEVICE.type == "cuda" else 0
        rows.append(row("growth", f"n{n_feat} {size}px", f"batch {batch}, images/s", batch / seconds, memory=memory))
    return rows


def kernels(args, scratch: str) -> list[dict]:
    """Where the time of a step goes: eager fp32 as published, and the program's step. Share per class of kernel."""
    rows = []
    for label, precision, compiled in (("eager fp32", "fp32", False), ("ours", "auto", None)):
        step = make_bare_step(args.n_feat, args.image_size, args.batch_size, precision, compiled)
        for _ in range(6 if DEVICE.type == "cuda" else 1):
            step()
        synchronize()
        began = time.perf_counter()
        activities = [ProfilerActivity.CUDA] if DEVICE.type == "cuda" else [ProfilerActivity.CPU]
        with profile(activities=activities) as profiler:
            for _ in range(2):
                step()
            synchronize()
        wall = (time.perf_counter() - began) / 2
        shares, launches = classify(profiler), sum(event.count for event in profiler.key_averages()) // 2
        total = sum(shares.values())
        rows.append(row("kernels", label, "one step with the profiler on, ms", 1000 * wall))
        rows.append(row("kernels", label, "kernels or operations per step", launches))
        for name, value in sorted(shares.items(), key=lambda item: -item[1]):
            rows.append(row("kernels", label, f"{name}, % of device time", 100 * value / total))
    return rows


def classify(profiler: profile) -> dict[str, float]:
    """Microseconds per class of kernels."""
    shares: dict[str, float] = {}
    for event in profiler.key_averages():
        cost = event.self_device_time_total if DEVICE.type == "cuda" else event.self_cpu_time_total
        name = event.key.lower()
        fused = "fused" in name and "adam" not in name  # by the compiler: named after all that is in it
        fits = (label for label, parts in CLASSES.items() if any(part in name for part in parts))
        label = "normalisation and its fused neighbours" if fused or "compiledfx" in name else next(fits, "other")
        shares[label] = shares.get(label, 0.0) + cost
    return shares


SECTIONS = {
    "sampling": sampling,
    "cache": cache,
    "checkpoint": checkpoint,
    "scaling": scaling,
    "growth": growth,
    "kernels": kernels,
}

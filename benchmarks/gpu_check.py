"""make gpu-check, or: python -m benchmarks.gpu_check --output-dir gpu_check

The first thing to run on a machine with a GPU. It probes the GPU, trains a little and shows what the run says about
itself, runs the tests that need a GPU, and measures the speed. What it found goes to OUTPUT/report.md, to be attached
to an issue; the exit code is 1 if anything failed. On a CPU the same commands are rehearsed, shorter, and the report
says what was left out.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from mindiffusion.runtime.command_line import CommandLine
from mindiffusion.runtime.gpu import describe, why_unusable

ROOT = Path(__file__).parents[1]
TAIL = 40  # lines of a command's output in the report
LESS = ("going on uncompiled", "is left out")  # it ended, but not on the path that is checked
TELLING = ("self-check", "uncompiled", "warning", "error")  # what a run says about itself
PROBE = """
import torch
from mindiffusion.runtime.gpu import probe
for index in range(torch.cuda.device_count()):
    probe(torch.device("cuda", index))
print(torch.cuda.device_count(), "GPU(s) computed a convolution correctly")
"""
SHOWN = re.compile(r"(PASSED|FAILED|ERROR|SKIPPED) *(\[ *\d+%\])?$|^stage \d|is set up|^turn ")  # as it goes
PASSED, FAILED, SKIPPED = "passed", "FAILED", "skipped"


@dataclass
class Result:
    """What one check found: PASSED, FAILED or SKIPPED, with the text for the report."""

    name: str
    verdict: str
    text: str
    seconds: float = 0.0


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("gpu_check"), help="default: %(default)s")
    parser.add_argument("--no-throughput", action="store_true", help="leave the table of speeds out")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """All checks, one after the other; a failure does not stop the next one. Returns the exit code."""
    args = parse_args(argv)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    on_gpu = torch.cuda.is_available()
    results = []
    bar = tqdm(checks(args, on_gpu), unit="check", leave=False)
    for name, check in bar:
        bar.set_description(name)
        began = time.monotonic()
        verdict, text = check()
        results.append(Result(name, verdict, text, time.monotonic() - began))
        tqdm.write(f"{name}: {verdict} ({results[-1].seconds:.0f} s)")
        (args.output_dir / "report.md").write_text(report(results, on_gpu))  # whole after each check
    print(f"report: {args.output_dir / 'report.md'}")
    return int(any(result.verdict == FAILED for result in results))


def checks(args: argparse.Namespace, on_gpu: bool) -> list[tuple[str, Callable[[], tuple[str, str]]]]:
    """(name, function that returns verdict and text)."""
    data = ["--data-path", "synthetic", "--no-figures", "--overwrite", "--output-dir", str(args.output_dir / "run")]
    small = ["--n-feat", "8", "--images-per-epoch", "128", "--global-batch-size", "16", "--num-samples", "8"]
    size = ["--num-samples", "16"] if on_gpu else [*small, "--no-compile"]
    train = [*data, *size, "--sample-steps", "10", "--epochs-per-stage", "1", "1", "1", "1", "1"]
    tests = ["-m", "pytest", "-m", "cuda", "-v", "-rs", "--durations=0", "tests/gpu"]
    tests += ["tests/data"] if on_gpu else []
    race = ["-m", "benchmarks.throughput", "--output-dir", str(args.output_dir / "throughput"), "--contenders"]
    race += ["a,d,e,e_cs,e_cr,f"] if on_gpu else ["a,d", "--quick"]
    graph = ["train_celeba_cs_32.py", *train, "--compile", "reduce-overhead"]
    return [
        ("GPU probe", lambda: probed(on_gpu)),
        ("training CS, default path", lambda: command(["train_celeba_cs_32.py", *train], telling=True)),
        ("training CS with --compile reduce-overhead", lambda: command(graph, telling=True) if on_gpu else no_gpu()),
        ("tests marked cuda", lambda: command(tests, GPU_REHEARSAL="" if on_gpu else "1")),
        ("throughput", lambda: (SKIPPED, "--no-throughput") if args.no_throughput else command(race)),
    ]


def no_gpu() -> tuple[str, str]:
    """The verdict of a check that a machine without a GPU cannot make."""
    return SKIPPED, "needs a CUDA GPU; there is none here"


def probed(on_gpu: bool) -> tuple[str, str]:
    """One kernel on each GPU, in a process of its own: one that stays would keep a GPU in exclusive mode to itself."""
    if not on_gpu:
        reason = why_unusable()
        return (FAILED, reason) if reason else no_gpu()
    return command(["-c", PROBE])


def command(arguments: list[str], telling: bool = False, **environment: str) -> tuple[str, str]:
    """Run a Python command. It fails with an exit code, or if it says that it went on with less than it was asked for.
    With ``telling`` the text is what it says about itself, and its end; else its end."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = []
    for text in process.stdout:
        lines.append(text.rstrip("\n").rpartition("\r")[2])
        if SHOWN.search(lines[-1]):
            tqdm.write(f"  {time.monotonic() - began:4.0f} s  {lines[-1][-100:]}")
    code = process.wait()
    kept = [line for line in lines if any(word in line for word in TELLING)] + lines[-3:] if telling else lines[-TAIL:]
    head = [f"$ python {' '.join(arguments)}", f"exit code {code}, {time.monotonic() - began:.0f} s"]
    failed = code != 0 or any(words in line for line in lines for words in LESS)
    return FAILED if failed else PASSED, "\n".join([*head, *(lines[-TAIL:] if failed else kept)])


def report(results: list[Result], on_gpu: bool) -> str:
    """The report in Markdown."""
    lines = ["# GPU check" if on_gpu else "# GPU check: a rehearsal, without a GPU", "", *machine(), ""]
    if not on_gpu:
        lines += [
            "Nothing below says anything about a GPU. Left out: the probe, --compile in both modes, "
            "resuming from CPU to GPU and back, NCCL, bf16 on a GPU, GPU speeds, and what takes long. What "
            "ran shows that these checks themselves run.",
            "",
        ]
    lines += ["| check | verdict | seconds |", "|---|---|---|"]
    lines += [f"| {result.name} | {result.verdict} | {result.seconds:.0f} |" for result in results]
    for result in results:
        lines += ["", f"## {result.name}: {result.verdict}", "", "```", result.text, "```"]
    return "\n".join(lines) + "\n"


def machine() -> list[str]:
    """What the numbers are of."""
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}"
    lines = [f"- {time.strftime('%Y-%m-%d %H:%M')}, {platform.platform()}, {os.cpu_count()} CPU cores", f"- {versions}"]
    if torch.cuda.is_available():
        lines.append(f"- cuDNN {torch.backends.cudnn.version()}, kernels for {', '.join(torch.cuda.get_arch_list())}")
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            lines.append(f"- GPU {index}: {describe(torch.device('cuda', index))}, {memory:.0f} GiB")
    return lines


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # tqdm.write does not flush
    sys.exit(main())

"""Scripts as processes: exit codes, messages, and two ranks against one."""

import csv
import os
import subprocess
import sys

import pytest
from tiny_runs import BATCH, ROOT

pytest_plugins = ["tiny_runs"]


def start(*command, faces):
    tiny = ["--data-path", str(faces), "--n-feat", "8", "--global-batch-size", str(BATCH), "--num-samples", "0"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *tiny, "--device", "cpu"], env=env, cwd=faces.parent, capture_output=True, text=True, timeout=240
    )


def test_two_processes_train_as_one(faces, launch):
    """Equal to 1e-5 over the first 6 steps; later, Adam blows rounding noise up (both runs stay equally good)."""
    script = str(ROOT / "train_celeba_cs_32.py")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", script)
    done = start(*torchrun, "--epochs-per-stage", "1", "1", "1", "1", "1", "--output-dir", "two", faces=faces)
    assert done.returncode == 0, done.stderr
    launch("cs_", "--output-dir", "one")
    logs = []
    for output in ("one", "two"):
        with open(faces.parent / output / "contents_cs_32" / "metrics.csv") as file:
            logs.append(list(csv.DictReader(file)))
    one, two = logs
    assert len(one) == len(two) == 5
    assert [float(row["mse"]) for row in one[:2]] == pytest.approx([float(row["mse"]) for row in two[:2]], abs=1e-5)
    assert [row["active_channels"] for row in one] == [row["active_channels"] for row in two]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs-per-stage", "1", "2"], "--epochs-per-stage has 2 numbers, but this script has 5 stage(s)"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_mistake_gives_one_message_and_exit_code_2(faces, flags, message):
    done = start(sys.executable, str(ROOT / "train_celeba_c_32.py"), *flags, faces=faces)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr

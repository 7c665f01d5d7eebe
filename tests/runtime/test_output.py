"""What becomes of a program whose output nobody takes: all of its work is done, and it ends as if it had been read."""

import os
import subprocess
import sys

from helpers import ROOT

PROGRAM = """
import sys, warnings
from pathlib import Path
from tqdm import tqdm
from mindiffusion.runtime.command_line import run_script

def main():
    for number in range(3000):
        print(f"line {number} \\xe9 \\udcff")
        tqdm.write("written")
    warnings.warn("of the library")
    for _ in tqdm(range(3)):
        pass
    sys.stdout.isatty(), sys.stderr.flush()
    Path("done").write_text("all")

run_script(main)
"""


def run(folder, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii:strict", "LANG": "C"}
    result = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment, **options)
    assert (folder / "done").read_text() == "all"
    return result


def test_an_ascii_terminal_shows_what_it_can_and_a_full_disk_under_stderr_ends_nothing(tmp_path):
    with open("/dev/full", "w") as full:
        result = run(tmp_path, stdout=subprocess.PIPE, stderr=full)
    assert result.returncode == 0
    assert result.stdout.startswith(rb"line 0 \xe9 \udcff")


def test_a_disk_that_is_full_under_the_output_is_told_and_ends_nothing(tmp_path):
    with open("/dev/full", "w") as full:
        result = run(tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 0
    assert b"some of the output could not be written: No space left on device" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_reader_that_left_is_not_told(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    result = run(tmp_path, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert result.returncode == 0
    assert b"rror" not in result.stderr


def test_a_program_may_start_without_any_output(tmp_path):
    assert run(tmp_path, preexec_fn=lambda: (os.close(1), os.close(2))).returncode == 0

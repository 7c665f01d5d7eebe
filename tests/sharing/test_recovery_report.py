"""What is said of recovery on synthetic data: the table of compare.py, a section of its page, and `make demo`."""

import base64
import io
import re
import shlex
import subprocess
import sys

import pytest
from helpers import ROOT, launch
from PIL import Image
from test_compare import fake_run

import compare
from mindiffusion.reports.recovery_log import recovery_table
from mindiffusion.reports.run_record import read_record
from mindiffusion.sharing.compare_page import build_page

ROWS = "stage,coarse,fine,outside\n1,0.1234,0.0000,0.5000\n2,0.8800,0.6061,0.0100\n"


@pytest.fixture
def measured(tmp_path):
    """The record of a run that measured its recovery after each of its two stages."""
    folder = fake_run(tmp_path / "contents_cs_32", "cs", image_size=32)
    (folder / "recovery.csv").write_text(ROWS)
    return read_record(folder)


def test_the_table_has_a_column_per_stage(measured):
    table = [line.split() for line in recovery_table(measured.recovery).splitlines()]
    assert table[0][-2:] == ["1", "2"]
    assert table[1] == ["coarse", "features", "(M1)", "12%", "88%"]
    assert table[2] == ["fine", "features", "(M2)", "0%", "61%"]


def test_the_page_shows_samples_and_shares_after_each_stage(measured):
    page = build_page([measured], [])
    section = re.search(r'<section class="recovery">.*?</section>', page, re.S)[0]
    assert "Recovered in the samples: CS" in section and "t/T 0.8 to 1" in section
    assert re.findall(r'value="([\d.]+)"></meter> (\d+%)', section) == [
        ("0.1234", "12%"),
        ("0.0000", "0%"),
        ("0.8800", "88%"),
        ("0.6061", "61%"),
    ]
    pictures = [Image.open(io.BytesIO(base64.b64decode(text))) for text in re.findall(r"base64,([^\"]+)", section)]
    assert [picture.size for picture in pictures] == [(268, 132)] * 2  # 4 x 2 samples of 64 pixels, 4 between them
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(30, 0, 0), (80, 0, 0)]  # each stage's last epoch


def test_a_run_on_a_folder_has_no_recovery_on_its_page(tmp_path):
    record = read_record(fake_run(tmp_path / "contents_c_32", "c", 1))
    assert record.recovery["stage"] == []
    assert 'class="recovery"' not in build_page([record], [])


def test_the_last_commands_of_make_demo_print_the_table_and_name_the_page(tmp_path, monkeypatch, capsys):
    dry = subprocess.run(
        ["make", "--no-print-directory", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    train, page, end = (shlex.split(line) for line in dry.splitlines()[-4:] if line != "echo")
    assert train[1] == "train_celeba_s_32.py" and "--demo" in train
    folder, output = page[2], page[page.index("-o") + 1]
    assert page[1] == "compare.py" and end[0] == "echo" and end[-1].endswith(f" {ROOT / output}")

    place = tmp_path / train[train.index("--output-dir") + 1]
    launch("train_celeba_s_32", place, "--num-samples", "2", "--sample-steps", "2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare.py", folder, "-o", output])
    compare.main()
    said = capsys.readouterr().out
    assert recovery_table(read_record(tmp_path / folder).recovery) in said
    assert f"1 run in {output}" in said
    assert (tmp_path / output).read_text().count("<meter") == 10  # two features after five stages

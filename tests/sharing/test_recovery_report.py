"""What is said of recovery on synthetic data: a section of the page of compare.py, and `make demo`."""

import base64
import io
import re
import shlex
import subprocess

from helpers import GRIDS, ROOT, S, launch, sample
from PIL import Image
from test_compare import fake_run

import compare
from mindiffusion.reports.run_record import read_record
from mindiffusion.sharing.compare_page import build_page

ROWS = "stage,coarse,fine,outside\n1,0.1234,0.0000,0.5000\n2,0.8800,0.6061,0.0100\n"


def test_the_page_shows_samples_and_shares_after_each_stage(tmp_path):
    folder = fake_run(tmp_path / "contents_cs_32", "cs", image_size=32)
    (folder / "recovery.csv").write_text(ROWS)
    page = build_page([read_record(folder)], [])
    section = re.search(r'<section class="recovery">.*?</section>', page, re.S)[0]
    assert "Recovered in the samples: CS" in section and "after stage 1 <small>t_min 0.8</small>" in section
    assert re.findall(r'value="([\d.]+)"></meter> (\d+%)', section) == [
        ("0.1234", "12%"),
        ("0.0000", "0%"),
        ("0.8800", "88%"),
        ("0.6061", "61%"),
    ]
    pictures = [Image.open(io.BytesIO(base64.b64decode(text))) for text in re.findall(r"base64,([^\"]+)", section)]
    assert [picture.size for picture in pictures] == [(268, 132)] * 2  # 4 x 2 samples of 64 pixels, 4 between them
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(30, 0, 0), (80, 0, 0)]  # each stage's last epoch


def test_the_commands_of_make_demo_draw_faces_and_end_with_a_page_of_all(tmp_path, monkeypatch, capsys):
    dry = subprocess.run(
        ["make", "--no-print-directory", "-n", "demo", "DEVICE=cpu"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    commands = [shlex.split(line) for line in dry.replace("\\\n", " ").splitlines()]
    (draw,), (train,), (page,) = (
        [command[1:] for command in commands if name in command]
        for name in ("sample.py", "train_celeba_s_32.py", "compare.py")
    )
    assert "--demo" in train and all(command[-2:] == ["--device", "cpu"] for command in (draw, train))
    output = page[page.index("-o") + 1]
    assert commands[-1][0] == "echo" and commands[-1][-1].endswith(f" {ROOT / output}")

    place = tmp_path / train[train.index("--output-dir") + 1]
    launch(S, place, *GRIDS)
    monkeypatch.chdir(tmp_path)
    sample(ROOT / draw[1], *draw[2:], "--steps", "2", "-n", "2")
    compare.main(page[1:])
    said = capsys.readouterr().out
    assert f"1 run in {output}" in said
    text = (tmp_path / output).read_text()
    assert text.count("<meter") == 10  # two features after five stages
    opening = text.index('<figure id="opening"><figcaption>64 faces')
    assert opening < text.index('id="controls"') < text.index('class="recovery"')

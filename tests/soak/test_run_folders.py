"""pytest tests/soak/test_run_folders.py -s

Run folders with a fault each, made by a seeded generator: the comparison page, the model card and the figures are
either made, or there is one message that says what is wrong. Never a traceback. SOAK_FOLDERS of them, default 160.
"""

import json
import os
import random
import re
import shutil

import pytest
from altered import VALUES, damaged, places
from helpers import checkpoints, contents, launch
from PIL import Image, PngImagePlugin

import compare
from mindiffusion.checkpoints.weights import read_weights
from mindiffusion.reports.figures import draw_figures
from mindiffusion.reports.grid_picture import LAYOUT_KEY
from mindiffusion.runtime.errors import UserError
from mindiffusion.sharing.export import export

FOLDERS = int(os.environ.get("SOAK_FOLDERS", "160"))
NAME = "train_celeba_cs_32"
POSSIBLE = (True, 0, 1, 99, 0.5)  # somewhere
CELLS = ("", "x", "nan", "inf", "-1", "1e300", "9" * 400, "0", '"', "\x1b[2J")
NAMES = ("stage99_epoch001.png", "stage1_epoch99999.png", "stage0_epoch000.png", "stage٣_epoch٣.png")


def altered_json(text, dice):
    """One value of a JSON text replaced or removed, or the text itself damaged."""
    if dice.random() < 0.2:
        return damaged(text.encode(), dice)
    tree = json.loads(text)
    node, key, _ = dice.choice(list(places(tree)))
    if dice.random() < 0.2:
        del node[key]
    else:
        node[key] = dice.choice((*VALUES, *POSSIBLE))
    return json.dumps(tree).encode()


def altered_csv(text, dice):
    """One cell, one column or the separator changed, or the text itself damaged."""
    rows = [line.split(",") for line in text.splitlines()]
    kind = dice.choice(("cell", "column", "separator", "damage"))
    if kind == "damage":
        return damaged(text.encode(), dice)
    if kind == "cell":
        row = dice.choice(rows)
        row[dice.randrange(len(row))] = dice.choice(CELLS)
    if kind == "column":
        column = dice.randrange(len(rows[0]))
        rows = [row[:column] + row[column + 1 :] for row in rows]
    return ("\n".join((";" if kind == "separator" else ",").join(row) for row in rows) + "\n").encode()


def altered_png(path, dice):
    """Another picture, another layout, another name, or damage; in place."""
    kind = dice.choice(("damage", "layout", "huge", "name", "jpeg", "folder", "grey"))
    if kind == "damage":
        path.write_bytes(damaged(path.read_bytes(), dice))
    elif kind == "huge":
        Image.new("1", (13_300, 13_300)).save(path)
    elif kind == "name":
        path.rename(path.with_name(dice.choice(NAMES)))
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        with Image.open(path) as picture:
            layout, picture = json.loads(picture.text[LAYOUT_KEY]), picture.convert("RGB")
        if kind == "layout":
            layout[dice.choice(list(layout))] = dice.choice((*VALUES, *POSSIBLE))
        about = PngImagePlugin.PngInfo()
        about.add_text(LAYOUT_KEY, json.dumps(layout))
        picture = picture.convert("L") if kind == "grey" else picture
        picture.save(path, "JPEG") if kind == "jpeg" else picture.save(path, pnginfo=about)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The output folder of a run with all that a run can leave, and an evaluation."""
    folder = tmp_path_factory.mktemp("whole")
    launch(NAME, folder, "--num-samples", "2", "--sample-steps", "2")
    metrics = {"swd": {"value": 188.0, "low": 182.0, "high": 194.0}, "bpd": {"value": 5.1, "low": None}}
    row = {"name": "CS", "kind": "model", "reference": "held out", "step": 15, "metrics": metrics}
    settings = {"num_samples": 500, "sampler": "DDIM", "seed": 0}
    text = json.dumps({"settings": settings, "results": [{**row, "weights_digest": "0"}, {**row, "kind": "real"}]})
    (contents(NAME, folder) / "evaluation.json").write_text(text)
    return folder


@pytest.mark.parametrize("number", range(FOLDERS))
def test_a_run_folder_with_a_fault_is_shown_or_named(number, whole, tmp_path):
    dice = random.Random(number)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    folder = contents(NAME, tmp_path)
    files = ("config.json", "evaluation.json", "metrics.csv", "bands.csv", "recovery.csv", "png")
    kind = dice.choices(files, (4, 2, 2, 2, 1, 3))[0]
    if kind == "png":
        altered_png(dice.choice(sorted(folder.glob("stage*.png"))), dice)
    else:
        change = altered_json if kind.endswith("json") else altered_csv
        (folder / kind).write_bytes(change((folder / kind).read_text(), dice))
    outcomes = []
    made = [
        lambda: compare.main([str(folder), "-o", str(tmp_path / "page.html")]),
        lambda: export(read_weights(checkpoints(NAME, tmp_path)), tmp_path / "model", False, False),
    ]
    if number % 8 == 0 and kind in ("config.json", "metrics.csv", "bands.csv"):  # matplotlib is slow
        made.append(lambda: draw_figures(folder))
    for make in made:
        try:
            make()
            outcomes.append("made")
        except UserError as error:
            message = str(error)
            assert len(message) < 1500 and "\x1b" not in message and kind.replace("png", "stage") in message, message
            outcomes.append("named")
    if outcomes[0] == "made":
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert page.count("<script") == 2 and str(tmp_path) not in page
        json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])
    print(f"{kind}: {', '.join(outcomes)}")

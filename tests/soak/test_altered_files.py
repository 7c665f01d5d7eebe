"""pytest tests/soak/test_altered_files.py -s

Checkpoints, exports and run folders with a fault each, made by a seeded generator; the checksums of a checkpoint are
right. Every way to use them ends in one message that names what is wrong, or as without the fault. Never a traceback.
SOAK_CHECKPOINTS of them, default 150, SOAK_EXPORTS, default 80, and SOAK_FOLDERS, default 160.
"""

import copy
import json
import os
import random
import re
import shutil

import pytest
import torch
from altered import POSSIBLE, VALUES, alter, altered_csv, altered_json, damaged
from helpers import CS, GRIDS, checkpoints, contents, launch
from PIL import Image, PngImagePlugin

import compare
from mindiffusion.checkpoints.checkpoint import Found, load_checkpoint, save_checkpoint
from mindiffusion.checkpoints.foreign import check_checkpoint
from mindiffusion.checkpoints.models import open_model
from mindiffusion.checkpoints.weights import init_parameters, read_weights
from mindiffusion.reports.figures import draw_figures
from mindiffusion.reports.grid_picture import LAYOUT_KEY
from mindiffusion.runtime.errors import UserError
from mindiffusion.sampling import Sampler, draw
from mindiffusion.sharing.export import export
from mindiffusion.training.run import Run

CHECKPOINTS = int(os.environ.get("SOAK_CHECKPOINTS", "150"))
EXPORTS = int(os.environ.get("SOAK_EXPORTS", "80"))
FOLDERS = int(os.environ.get("SOAK_FOLDERS", "160"))
NAMES = ("stage99_epoch001.png", "stage1_epoch99999.png", "stage0_epoch000.png", "stage٣_epoch٣.png")


def images(path):
    return draw(open_model(path), Sampler(steps=2), 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The output folder of a run with all that a run can leave, an evaluation and an export of stage 3, the images of
    that stage, and a run that could go on from it."""
    folder = tmp_path_factory.mktemp("whole")
    runs, restore = [], Run.restore
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "restore", lambda self: runs.append(self) or restore(self))
        launch(CS, folder, *GRIDS)
    metrics = {"swd": {"value": 188.0, "low": 182.0, "high": 194.0}, "bpd": {"value": 5.1, "low": None}}
    row = {"name": "CS", "kind": "model", "reference": "held out", "step": 15, "metrics": metrics}
    settings = {"num_samples": 500, "sampler": "DDIM", "seed": 0}
    text = json.dumps({"settings": settings, "results": [{**row, "weights_digest": "0"}, {**row, "kind": "real"}]})
    (contents(CS, folder) / "evaluation.json").write_text(text)
    stage = checkpoints(CS, folder) / "stage3.pt"
    export(read_weights(stage), folder / "export")
    return folder, stage, images(stage), runs[0]


def outcome(use, what, name):
    """Use something with the fault ``what``: "made", or "named" by a message with ``name`` in plain words."""
    try:
        use()
        return "made"
    except UserError as error:
        message = str(error)
        assert len(message) < 1500 and "\x1b" not in message and name in message, f"{what}: {message}"
        return "named"


@pytest.mark.parametrize("number", range(CHECKPOINTS))
def test_a_checkpoint_with_a_fault_is_refused_or_draws_the_same(number, whole, tmp_path):
    _, stage, expected, run = whole
    good, dice, altered = load_checkpoint(stage), random.Random(number), tmp_path / "latest.pt"
    content = copy.deepcopy(good)
    what = alter(content, dice)
    save_checkpoint(altered, content)

    def go_on():
        run.found = Found(altered, load_checkpoint(altered))
        check_checkpoint(altered, run.found.content)
        run.restore()
        moments = run.optimizer.state_dict()["state"]
        states = ((run.net.state_dict(), good["model"]), (run.ema.net.state_dict(), good["ema"]))
        for ours, theirs in (*states, *((moments[key], each) for key, each in good["optimizer"]["state"].items())):
            assert all(torch.equal(ours[name], value) for name, value in theirs.items()), what

    def look():
        assert torch.equal(images(altered), expected), what

    def start():
        init_parameters(copy.deepcopy(run.net), read_weights(altered))

    def pass_on():
        export(read_weights(altered), tmp_path / "export")

    print(f"{what}: {[outcome(use, what, 'latest.pt') for use in (look, go_on, start, pass_on)]}")


@pytest.mark.parametrize("number", range(EXPORTS))
def test_an_export_with_a_fault_is_refused_or_draws_the_same(number, whole, tmp_path):
    folder, _, expected, _ = whole
    dice, altered = random.Random(number), tmp_path / "export"
    shutil.copytree(folder / "export", altered)
    if dice.random() < 0.1:
        what, file = "damaged weights", altered / "model.safetensors"
        file.write_bytes(damaged(file.read_bytes(), dice))
    else:
        what = altered_json(altered / "config.json", dice)

    def look():
        assert torch.equal(images(altered), expected), what

    print(f"{what}: {outcome(look, what, str(altered))}")


def altered_png(path, dice):
    """Another picture, another layout, another name, or damage, in place. Returns what was done."""
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
            layout, picture = json.loads(picture.text[LAYOUT_KEY]), picture.convert("L" if kind == "grey" else "RGB")
        if kind == "layout":
            layout[dice.choice(list(layout))] = dice.choice((*VALUES, *POSSIBLE))
        about = PngImagePlugin.PngInfo()
        about.add_text(LAYOUT_KEY, json.dumps(layout))
        picture.save(path, "JPEG" if kind == "jpeg" else "PNG", pnginfo=about)
    return kind


@pytest.mark.parametrize("number", range(FOLDERS))
def test_a_run_folder_with_a_fault_is_shown_or_named(number, whole, tmp_path):
    dice = random.Random(number)
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    folder, page = contents(CS, tmp_path), tmp_path / "page.html"
    files = ("config.json", "evaluation.json", "metrics.csv", "bands.csv", "recovery.csv", "stage")
    kind = dice.choices(files, (4, 2, 2, 2, 1, 3))[0]
    path = dice.choice(sorted(folder.glob(f"{kind}*")))
    what = {"": altered_png, "json": altered_json, "csv": altered_csv}[kind.partition(".")[2]](path, dice)
    uses = [
        lambda: compare.main([str(folder), "-o", str(page)]),
        lambda: export(read_weights(checkpoints(CS, tmp_path)), tmp_path / "model"),
    ]
    if number % 8 == 0 and kind in ("config.json", "metrics.csv", "bands.csv"):  # matplotlib is slow
        uses.append(lambda: draw_figures(folder))
    outcomes = [outcome(use, what, kind) for use in uses]
    if outcomes[0] == "made":
        text = page.read_text(encoding="utf-8")
        assert text.count("<script") == 2 and str(tmp_path) not in text
        json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])
    print(f"{kind}, {what}: {outcomes}")

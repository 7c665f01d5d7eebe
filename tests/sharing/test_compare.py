"""compare.py: what its page holds, and that a browser shows it."""

import json
import re
from dataclasses import asdict

import pytest
from chromium import ask
from PIL import Image, PngImagePlugin

import compare
from mindiffusion.reports.bands import NUM_BANDS
from mindiffusion.reports.grid_picture import LAYOUT_KEY, Layout
from mindiffusion.reports.row_file import COLUMNS, METRICS
from mindiffusion.reports.run_record import read_record
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.plain_text import plain
from mindiffusion.sharing.compare_page import build_page, notes

SIZE = (274, 172)  # pixels of a grid
STAGES = [(0.8, 1.0, "stage1", 30), (0.0, 1.0, "stage2", 50)]


def write_grid(path, picture):
    """A grid of 32 samples and 8 real images, of 32 pixels each, cut out of ``picture``."""
    about = PngImagePlugin.PngInfo()
    about.add_text(LAYOUT_KEY, json.dumps(asdict(Layout(32, 1, 2, 2, (2, 138), (32, 8)))))
    picture.save(path, pnginfo=about)


def fake_run(folder, variant, epochs=80, batch=256, shade=0, **changes):
    """A contents folder of a finished run, without the run: grids of one colour each, plausible curves."""
    folder.mkdir(parents=True)
    stages = [{"t_min": a, "t_max": b, "name": name, "epochs": n} for a, b, name, n in STAGES]
    config = {"variant": variant, "stages": stages, "seed": 0, "lr": 2e-5, "global_batch_size": batch}
    config |= {"n_feat": 32, "image_size": 32, "n_T": 1000}
    data = {"images": 9000, "kind": "folder"}
    (folder / "config.json").write_text(json.dumps({**config, "output_dir": str(folder), "data": data, **changes}))
    metrics, bands = [",".join((*METRICS, "active_channels"))], [",".join(COLUMNS["bands.csv"])]
    for epoch in range(1, epochs + 1):
        stage, step = 1 if epoch <= 30 else 2, epoch * (9000 // batch)
        position = f"{stage},{epoch},{step},{step * batch}"
        metrics.append(f"{position},{1 / epoch},{1 / epoch},0,2e-05,1,2900,64")
        bands.append(position + f",{2 / epoch}" * NUM_BANDS)
        write_grid(folder / f"stage{stage}_epoch{epoch:03d}.png", Image.new("RGB", SIZE, (epoch, shade, 0)))
    (folder / "metrics.csv").write_text("\n".join(metrics) + "\n")
    (folder / "bands.csv").write_text("\n".join(bands) + "\n")
    return folder


def table(name, metrics, path=""):
    """The text of an evaluation.json."""
    return json.dumps({"settings": {}, "results": [{"name": name, "metrics": metrics, "path": path}]})


def page_of(*folders, **options):
    return build_page([read_record(folder) for folder in folders], [], **options)


def embedded(page):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def test_the_page_refers_to_nothing_outside_itself(tmp_path):
    page = page_of(fake_run(tmp_path / "contents_c_32", "c", epochs=2))
    page = page.replace('createElementNS("http://www.w3.org/2000/svg"', "")  # a name, not an address
    assert not re.search(r"https?://|@import|url\(|<link[^>]+href=\"(?!data:)|src=\"(?!data:)", page)
    assert "<!--" not in page.split("<script id")[0]  # every part was filled in


def test_grids_lie_at_the_images_seen_of_their_own_run(tmp_path):
    folders = fake_run(tmp_path / "a", "", epochs=3), fake_run(tmp_path / "b", "c", epochs=3, batch=4000)
    small, large = embedded(page_of(*folders))["runs"]
    assert [grid["images"] for grid in small["grids"]] == [8960, 17920, 26880]
    assert [grid["images"] for grid in large["grids"]] == [8000, 16000, 24000]


def test_the_page_holds_no_place_of_this_machine(tmp_path, monkeypatch):
    places = {"data_path": "/home/ann/faces", "output_dir": "/home/ann", "resume": "/home/ann/a.pt", "init_from": "b"}
    folder = fake_run(tmp_path / "contents_c_32", "c", 1, **places)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "evaluation.json").write_text(table("C", {"FID": {"value": 3}}, "/home/ann/latest.pt"))
    monkeypatch.chdir(tmp_path)
    compare.main([str(folder), "-o", "page.html"])
    page = (tmp_path / "page.html").read_text()
    assert "ann" not in re.findall(r"\bann\b", page) and str(tmp_path) not in page and "data_path" not in page
    assert embedded(page)["runs"][0]["name"] == "contents_c_32" and "<td data-run=" in page


def test_differences_of_the_configuration_come_first_and_science_is_highlighted(tmp_path):
    other = fake_run(tmp_path / "b", "c", 1, lr=0.5, data={"images": 9001, "kind": "folder"})
    page = page_of(fake_run(tmp_path / "a", "", 1), other)
    rows = re.findall(r'<tr class="(\w+)"><th>([\w.]+)</th>', page)
    science = ["variant", "lr", "data.images"]
    assert rows[:3] == [("science", name) for name in science]
    assert ("same", "seed") in rows and ("same", "data.kind") in rows


@pytest.mark.parametrize("evil", ["</script><script>alert(1)</script>", "<!--<script>", "<!--DATA-->", "\x1b[2J\u202e"])
def test_text_from_files_cannot_break_the_page(tmp_path, evil):
    stages = [{"name": evil, "epochs": 80, "t_min": 0.0}]
    folder = fake_run(tmp_path / "a", evil, 1, stages=stages, crop=evil)
    (tmp_path / "evaluation.json").write_text(table("a", {"FID": {"value": 3}, evil: {"value": 4}}))
    page = build_page([read_record(folder)], [tmp_path / "evaluation.json"])
    assert evil not in page and evil.upper() not in page
    run = embedded(page)["runs"][0]
    assert (run["title"], run["grids"][0]["stage"]) == (plain(evil, 40).upper(), plain(evil))
    assert page.count("<script") == 2 and page.rstrip().endswith("</html>")


def test_other_noise_or_data_is_noted(tmp_path):
    same, seed = fake_run(tmp_path / "a", "", 1), fake_run(tmp_path / "b", "c", 1, seed=3)
    data = fake_run(tmp_path / "c", "c", 1, data={"images": 9000, "kind": "synthetic", "seed": 0})
    assert notes([read_record(same), read_record(seed)]) == ["The grids are not drawn alike: seed is 0, 3."]
    assert notes([read_record(same), read_record(same)]) == []
    for index, field in enumerate(("sampler", "sample_eta", "ema_decay")):
        other = fake_run(tmp_path / f"other{index}", "c", 1, **{field: 0})
        assert notes([read_record(same), read_record(other)]) == [f"The grids are not drawn alike: {field} is null, 0."]
    assert notes([read_record(same), read_record(data)]) == ["The runs are not of the same data."]


def test_a_page_is_not_overwritten_and_a_run_may_be_named_by_its_checkpoints(tmp_path):
    folder = fake_run(tmp_path / "contents_c_32", "c", 1)
    for name in ("checkpoints_c_32", "evaluation"):
        (tmp_path / name).mkdir()
    output = tmp_path / "compare.html"
    compare.main([str(tmp_path / "checkpoints_c_32"), "-o", str(output)])
    assert f'"name": "{folder.name}"' in output.read_text()
    output.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        compare.main([str(folder), "-o", str(output)])
    assert output.read_text() == "mine"
    with pytest.raises(UserError, match="is not the contents folder of a run"):
        compare.main([str(tmp_path / "evaluation"), "-o", str(tmp_path / "x.html")])


def test_bands_that_are_not_finite_are_left_open_and_so_is_a_missing_one(tmp_path):
    folder = fake_run(tmp_path / "contents_c_32", "c", 2)
    whole = (folder / "bands.csv").read_text()
    (folder / "bands.csv").write_text(whole.replace(",2.0", ",nan", 1))
    (run,) = embedded(page_of(folder))["runs"]
    assert run["bands"][0]["loss"][:2] == [None, 2.0] and len(run["curves"]["band_mse"]) == 1
    assert set(run["curves"]) >= {"band_mse", "mse", "loss", "grad_norm", "images_per_s"}
    (folder / "bands.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in whole.splitlines()) + "\n")
    (run,) = embedded(page_of(folder))["runs"]
    assert run["bands"][0]["loss"][-2:] == [2.0, None] and "band_mse" not in run["curves"]


SHOWN = "[...document.querySelectorAll('.card img')].map(i => i.hidden ? null : i.src)"
CAPTIONS = "[...document.querySelectorAll('.card p')].map(p => p.textContent)"
CURSOR = "document.querySelector('.cursor').getAttribute('x1')"
OVERFLOW = """[document.documentElement.scrollWidth - innerWidth,
  ...[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)]"""
MOVE = """{
  const slider = document.getElementById('position');
  slider.value = %d;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
  undefined;
}"""


@pytest.fixture
def four(tmp_path):
    """The page of four runs of 80 epochs."""
    variants = enumerate(("", "c", "cs", "cr"))
    return page_of(*(fake_run(tmp_path / f"contents_{variant}_32", variant, shade=60 * i) for i, variant in variants))


def test_a_browser_shows_four_runs_of_80_epochs_and_moving_leaves_nothing_behind(four, tmp_path):
    at = (SHOWN, CAPTIONS, CURSOR)
    curves = ("document.querySelectorAll('#curves .curve').length", "document.querySelectorAll('#bands .curve').length")
    measure = "{ const m = document.getElementById('metric'); m.value = 'images_per_s';"
    measure += " m.dispatchEvent(new Event('change')); undefined; }"
    elements, moves = "document.querySelectorAll('*').length", [MOVE % position for position in (0, 79, 40)]
    widths = (400, OVERFLOW, 1500, OVERFLOW, 1000)  # of a telephone and of a screen
    questions = (*widths, MOVE % 0, *at, MOVE % 40, *at, *curves, measure, "document.getElementById('log').checked")
    narrow, wide, *answers, log, before, after, problems = ask(
        four, tmp_path / "browser", *questions, elements, *moves, elements, "problems"
    )
    first, captions, cursor, second, later, moved, *lines = answers
    for overflow in (narrow, wide):
        assert len(overflow) > 1 and max(overflow) <= 0  # neither the page nor a table scrolls sideways
    assert len(set(first)) == 4 and all(source.startswith("data:image/webp") for source in first)
    assert captions == ["epoch 1 of 80 · stage1 · 8,960 images"] * 4
    assert not set(first) & set(second) and cursor != moved
    assert later == ["epoch 41 of 80 · stage2 · 367,360 images"] * 4
    assert lines == [4, 4] and log is False and before == after and problems == []


def test_a_browser_shows_runs_of_unequal_length_at_equal_images(tmp_path):
    long, short = fake_run(tmp_path / "a", "", epochs=4), fake_run(tmp_path / "b", "c", epochs=2, batch=4500)
    page = page_of(long, short, fake_run(tmp_path / "c", "cr", epochs=0))
    questions = ("positions", MOVE % 0, SHOWN, MOVE % 4, CAPTIONS, "problems")
    positions, shown, captions, problems = ask(page, tmp_path / "browser", *questions)
    assert positions == [8960, 9000, 17920, 18000, 26880, 35840] and shown[1:] == [None, None]
    assert captions == [
        "epoch 3 of 80 · stage1 · 26,880 images",
        "epoch 2 of 80 · stage1 · 18,000 images; its last grid",
        "",
    ]
    assert problems == []

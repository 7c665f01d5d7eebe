"""A result is shown for the weights that it was measured on, and for no others."""

import json
import os
import re

import pytest
import torch
from helpers import small_content
from test_compare import fake_run

import compare
from mindiffusion.checkpoints.checkpoint import save_checkpoint
from mindiffusion.checkpoints.weights import weights_digest
from mindiffusion.runtime.errors import UserError
from mindiffusion.sharing.evaluations import ABSENT, DOUBT, read_evaluation

pytestmark = pytest.mark.usefixtures("elsewhere")
SEVEN = ("", "c", "cs", "cr", "p", "cp", "s")


def train(home, variant, weight, step=350):
    """A finished run with these weights; returns its contents folder and their digest."""
    name = "_".join(filter(None, (variant, "32")))
    folder = home / f"contents_{name}"
    if not folder.exists():
        fake_run(folder, variant, 1)
    state = {"w": torch.full((2,), float(weight))}
    (home / f"checkpoints_{name}").mkdir(exist_ok=True)
    save_checkpoint(home / f"checkpoints_{name}" / "latest.pt", small_content(ema=state, next_step=step))
    return folder, weights_digest(state)


def row(name, swd, **about):
    metrics = {"swd": {"value": swd, "low": swd - 6, "high": swd + 6}, "band1": {"value": 1, "low": None}}
    return {"name": name, "kind": "model", "reference": "held out", **about, "metrics": metrics}


def evaluated(folder, rows, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps({"settings": settings, "results": rows}))


def cells(page, label):
    """The cells of a row of the evaluation, by the run that they are of; of the short table."""
    line = re.search(rf"<tr><th>{label}[^<]*</th>(.*?)</tr>", page)[1]
    return dict(re.findall(r'<td data-run="(.*?)">(.*?)</td>', line))


def page_of(home, *folders):
    compare.main([*map(str, folders), "-o", str(home / "page.html"), "--overwrite"])
    return (home / "page.html").read_text()


def test_after_a_retraining_the_old_numbers_are_gone_and_it_is_said(tmp_path):
    folder, digest = train(tmp_path, "c", 1)
    evaluated(tmp_path / "evaluation", [row("C", 188.4, weights_digest=digest, step=350)])
    page = page_of(tmp_path, folder)
    assert cells(page, "swd") == {"C": "188±6"} and cells(page, "measured on") == {"C": "these weights, step 350"}
    assert "<summary>all 2 metrics</summary>" in page and cells(page, "real images were") == {"C": "held out"}
    train(tmp_path, "c", 2)
    page = page_of(tmp_path, folder)
    assert "188" not in page.split('class="evaluation"')[1].split("</section>")[0]
    assert cells(page, "measured on")["C"].startswith(f"{ABSENT}; measured were other weights: step 350")


def test_the_page_lists_its_runs_each_of_them_and_no_other(tmp_path):
    runs = {variant: train(tmp_path, variant, index + 1) for index, variant in enumerate(SEVEN)}
    names = [variant.upper() or "control" for variant in SEVEN]
    rows = [row(n, 100 + i, weights_digest=runs[v][1]) for i, (v, n) in enumerate(zip(SEVEN[:5], names, strict=False))]
    evaluated(tmp_path / "evaluation", [*rows, row("real images", 17, kind="real"), row("gone", 1, weights_digest="0")])
    page = page_of(tmp_path, runs[""][0], runs["cr"][0])
    assert cells(page, "swd") == {"control": "100±6", "CR": "103±6", "real images": "17±6"}
    page = page_of(tmp_path, *(folder for folder, _ in runs.values()))
    assert list(cells(page, "measured on"))[:7] == names
    assert [cells(page, "measured on")[name] for name in ("CP", "S")] == [ABSENT, ABSENT]
    assert "7 training runs compared: control, C, CS, CR, P, CP, S" in page


def test_what_has_no_digest_is_shown_with_a_word_of_doubt(tmp_path):
    c, _ = train(tmp_path, "c", 1)
    cs, _ = train(tmp_path, "cs", 1)
    evaluated(tmp_path / "evaluation", [row("C", 188.4), row("P", 9)])
    page = page_of(tmp_path, c, cs)
    assert cells(page, "measured on") == {"C": DOUBT, "CS": ABSENT} and cells(page, "swd") == {"C": "188±6", "CS": "-"}


def test_the_newest_of_several_counts_and_other_settings_are_said(tmp_path):
    (c, digest), (cs, other) = train(tmp_path, "c", 1), train(tmp_path, "cs", 2)
    evaluated(tmp_path / "evaluation_old", [row("C", 1, weights_digest=digest), row("CS", 2, weights_digest=other)])
    os.utime(tmp_path / "evaluation_old" / "evaluation.json", (1, 1))
    evaluated(tmp_path / "evaluation", [row("C", 3, weights_digest=digest)], num_samples=500)
    page = page_of(tmp_path, c, cs)
    assert cells(page, "swd") == {"C": "3±6", "CS": "2±6"} and "not measured alike" not in page
    evaluated(tmp_path / "evaluation", [row("CS", 3, weights_digest=other)], num_samples=500)
    evaluated(tmp_path / "evaluation_old", [row("C", 1, weights_digest=digest)], n_samples=1000)
    assert "The runs were not measured alike: num_samples is 1000, 500." in page_of(tmp_path, c, cs)


def test_numbers_come_with_their_sampler_and_another_scaling_does_not_pass_for_the_usual_one(tmp_path):
    folder, digest = train(tmp_path, "c", 1)
    evaluated(tmp_path / "evaluation", [row("C", 188, weights_digest=digest)], sampler="DDIM, 9 steps")
    evaluated(tmp_path / "evaluation_own", [row("C", 30, weights_digest=digest)], swd_normalization="own")
    page = page_of(tmp_path, folder)
    assert cells(page, "swd") == {"C": "188±6"} and cells(page, "samples drawn by") == {"C": "DDIM, 9 steps"}
    (tmp_path / "evaluation" / "evaluation.json").unlink()
    page = page_of(tmp_path, folder)
    assert cells(page, "samples drawn by") == {"C": "swd with each set&#x27;s own scaling"}


def test_a_table_in_the_current_folder_counts_by_digest_alone(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    folder, digest = train(tmp_path / "runs", "c", 1)
    monkeypatch.chdir(tmp_path)
    evaluated(tmp_path / "evaluation", [row("C", 188.4, weights_digest=digest)])
    assert cells(page_of(tmp_path, folder), "swd") == {"C": "188±6"}
    evaluated(tmp_path / "evaluation", [row("C", 188.4)])
    assert cells(page_of(tmp_path, folder), "measured on") == {"C": ABSENT}


def test_a_file_that_is_no_evaluation_is_left_out_of_the_page_and_named(tmp_path, capsys):
    folder, digest = train(tmp_path, "c", 1)
    evaluated(tmp_path / "evaluation", [row("C", 188.4, weights_digest=digest)])
    (tmp_path / "evaluation_other").mkdir()
    (tmp_path / "evaluation_other" / "evaluation.json").write_text("[]")
    assert cells(page_of(tmp_path, folder), "swd") == {"C": "188±6"}
    assert "not on the page: " in (said := capsys.readouterr().err) and "evaluation_other" in said


def table(metrics, **more):
    return json.dumps({"settings": {}, "results": [{"name": "a", "metrics": metrics, **more}]})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"results": 3}',
        table(3),
        table({"swd": [1]}),
        table({"swd": {"value": 1e300}}),
        table({"swd": {"value": 10**400}}),
        table({}, step=[[[[[[[[[[[[[[1]]]]]]]]]]]]]]),
        "\x00",
    ],
)
def test_what_is_no_evaluation_is_named(text, tmp_path):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(UserError, match="is no evaluation: "):
        read_evaluation(tmp_path / "evaluation.json")
    (tmp_path / "evaluation.json").write_text(table({"a": {"value": None}, "b": {"value": 1, "low": 1, "high": 1}}))
    (found,) = read_evaluation(tmp_path / "evaluation.json")
    assert list(found.metrics) == ["b"] and found.metrics["b"].low != found.metrics["b"].low

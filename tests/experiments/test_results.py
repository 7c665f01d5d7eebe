"""What docs/results.md and the README claim is what the tables in the tree give."""

import csv
import re

import pytest
from helpers import ROOT

from experiments import ledger, summary
from experiments.claims import StudyTable, interval
from mindiffusion.runtime.errors import UserError

RESULTS = ROOT / "docs" / "results"
FROM_TABLES = ("c1", "c2", "c4", "c6", "c7", "c9")  # the others look into checkpoints
TABLES = sorted(path for path in RESULTS.glob("*/c*.csv") if path.stem in FROM_TABLES)


@pytest.mark.parametrize("path", TABLES, ids=[f"{path.parent.name}-{path.stem}" for path in TABLES])
def test_a_verdict_in_the_tree_follows_from_the_results_beside_it(path):
    findings = ledger.claim(path.stem.upper()).measure(StudyTable(path.parent))
    stored = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["quantity"], row["verdict"]) for row in stored] == [(each.quantity, each.verdict) for each in findings]
    for row, each in zip(stored, findings, strict=True):
        assert float(row["mean"]) == pytest.approx(each.interval.mean, rel=1e-4, nan_ok=True)
        assert int(row["seeds"]) == each.interval.seeds


def test_the_headline_of_the_small_budget_is_that_of_its_fresh_seeds():
    table = StudyTable(RESULTS / "faces_confirm")
    gain = table.improvement("C_experts_rest", "uniform")
    assert (gain.seeds, sorted(table.by_seed("uniform", "swd"))) == (3, [10, 11, 12])
    headline = headline_of("results_small_budget.md")
    for number in (f"{gain.mean:.1f} %", f"{gain.low:.1f}", f"{gain.high:.1f}"):
        assert number in headline


def test_the_means_of_the_small_budget_are_those_of_its_tables():
    table = StudyTable(RESULTS / "faces_cpu")
    text = (ROOT / "docs" / "results_small_budget.md").read_text()
    for cell, column in zip(("uniform", "C", "CS", "CR", "C_experts_rest"), range(2, 7), strict=True):
        line = next(line for line in text.splitlines() if line.startswith("| `swd` |"))
        assert (
            line.split("|")[column].split("±")[0].strip()
            == f"{interval([*table.by_seed(cell, 'swd').values()]).mean:.0f}"
        )


def headline_of(page: str) -> str:
    return re.search(r"^Headline: .*?\n\n", (ROOT / "docs" / page).read_text(), re.M | re.S)[0]


def test_the_tables_of_results_are_those_of_the_study(capsys):
    summary.main([str(RESULTS / "faces")])
    page = (ROOT / "docs" / "results.md").read_text()
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert [table.startswith("| | ") for table in tables] == [True, True]
    assert all(f"\n\n{table}\n\n" in page for table in tables)


def test_the_tables_of_other_studies_are_those_of_their_results(capsys):
    page = (ROOT / "docs" / "results.md").read_text()
    calls = re.findall(r"experiments.summary docs/results/(\w+) --cells (.*)", page)
    assert {study for study, _ in calls} == {"candidates", "faces_lr"}
    for study, cells in calls:
        summary.main([str(RESULTS / study), "--cells", *cells.split()])
        for table in capsys.readouterr().out.strip().split("\n\n"):
            assert f"\n\n{table}\n\n" in page
    with pytest.raises(UserError, match="has no cell Q with swd"):
        summary.main([str(RESULTS / "candidates"), "--cells", "P", "Q"])


def test_a_summary_says_which_is_better_and_counts_the_interval_in_that_direction():
    assert summary.gain_text(interval([3.0, 5.0, 7.0]), 0) == "5 % better (0 to 10)"
    assert summary.gain_text(interval([-1.0, -2.0, -0.9]), 1) == "1.3 % worse (-0.2 to 2.8)"
    assert summary.gain_text(interval([-2.0]), 1) == "2.0 % worse"
    assert summary.mean_text([1.0, 2.0], 1) == "1.5 ± 0.7" and summary.mean_text([], 1) == "-"


def test_the_headline_is_that_of_the_study_in_both_documents():
    table = StudyTable(RESULTS / "faces")
    swd, bpd = (table.improvement("P", "uniform", metric) for metric in ("swd", "bpd"))
    headline = " ".join(headline_of("results.md").split())
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{swd.mean:.0f} % lower swd (95 % interval {swd.low:.0f} to {swd.high:.0f})" in headline
    assert f"at {-bpd.mean:.1f} % worse bits/dim ({-bpd.high:.1f} to {-bpd.low:.1f})" in headline
    assert f"{swd.mean:.0f} % lower swd at {-bpd.mean:.1f} % worse bits/dim" in readme
    assert swd.seeds == 3 and "(3 seeds)" in headline and "(3 seeds)" in readme


@pytest.mark.parametrize("name", ["docs/results.md", "README.md"])
def test_what_the_words_say_of_the_other_curricula_is_what_the_study_gives(name):
    page = " ".join((ROOT / name).read_text().split())
    table = StudyTable(RESULTS / "faces")
    swd, bpd = (table.improvement("S", "P", metric) for metric in ("swd", "bpd"))
    assert f"{swd.mean:.0f} % lower swd" in page
    assert f"{swd.low:.0f} to {swd.high:.0f}), {-bpd.mean:.1f} % worse bits/dim ({swd.seeds} seeds)" in page
    swd, bpd = (table.improvement("C", "uniform", metric) for metric in ("swd", "bpd"))
    assert swd.low < 0 < swd.high and bpd.high < 0
    assert re.search(rf"no sure difference in swd[^.]*, {-bpd.mean:.0f} % worse bits/dim \({swd.seeds} seeds", page)
    swd, bpd = (table.improvement("CP", "P", metric) for metric in ("swd", "bpd"))
    assert swd.low < 0 < swd.high and bpd.high < 0 and swd.seeds == 3
    assert f"costs {-bpd.mean:.0f} % of bits/dim, and its swd is not surely lower" in page
    low, high = table.improvement("CS", "C").low, table.improvement("CS", "C").high
    bpd = table.improvement("CR", "C", "bpd")
    assert low < 0 < high and bpd.low > 0 and table.improvement("CR", "uniform", "bpd").high < 0
    assert f"CS does not differ from C; CR is {bpd.mean:.1f} % better than C in bits/dim" in page
    higher = StudyTable(RESULTS / "faces_lr")
    swd, bpd = (higher.improvement("S", "P", metric) for metric in ("swd", "bpd"))
    gain = f"S against P {swd.mean:.0f} % lower ({swd.low:.0f} to {swd.high:.0f}), {-bpd.mean:.1f} % worse bits/dim"
    assert swd.low > 0 and swd.seeds == 3 and gain in page
    pilots = StudyTable(RESULTS / "candidates")
    swd, bpd = (f"{pilots.improvement('S', 'P', metric).mean:.{d}f}" for metric, d in (("swd", 0), ("bpd", 1)))
    assert f"({swd} and {bpd} %, one seed)" in page or f"swd ({swd} %), bits/dim ({bpd} %)" in page


def test_the_ratios_of_the_losses_per_band_are_those_of_the_runs():
    """Of each table of ratios in docs/results.md: its caption names the two bands files, its rows the images."""
    text = (ROOT / "docs" / "results.md").read_text()
    pair = r"\[bands_(\w+)\.csv\]\S+\s+over\s+\[bands_(\w+)\.csv\][^|]*?\n\n"
    tables = re.findall(pair + r"((?:\|.*\n)+)", text)
    assert len(tables) == 5
    for above, below, rows in tables:
        losses = [bands_of(cell) for cell in (above, below)]
        for row in rows.splitlines()[2:]:
            images, *shown = (part.strip() for part in row.split("|")[1:-1])
            images = int(images.split(":")[0].replace(",", ""))
            ratios = [f"{a / b:.2f}" for a, b in zip(losses[0][images], losses[1][images], strict=True)]
            assert shown == ratios, (above, images)


def bands_of(cell: str) -> dict[int, list[float]]:
    """The loss per band of a run of seed 0, by the images seen."""
    rows = csv.reader((RESULTS / "faces" / f"bands_{cell}.csv").read_text().splitlines()[1:])
    return {int(row[3]): [float(value) for value in row[4:]] for row in rows}


AT_1E_3 = ("control_high_lr_32", "p_high_lr_32", "s_high_lr_32", "s_long_end_32")


def test_the_table_of_the_pretrained_weights_is_that_of_the_study():
    folder = ROOT / "pretrained"
    found = re.findall(
        r"^\| \[(\w+)\]\(\1\) \| (\w+)[^|]* \| (\S+) \| (\S+) \| (\S+) \|$", (folder / "README.md").read_text(), re.M
    )
    assert {name for name, *_ in found} == {path.parent.name for path in folder.glob("*/model.safetensors")}
    for name, called, *shown in found:
        study = "faces_lr_again" if name == "p_high_lr_32" else "faces_lr" if name in AT_1E_3 else "faces"
        table = StudyTable(RESULTS / study)
        cell = {"the": "uniform"}.get(called, called)
        values = [("swd", 0), ("bpd", 2), ("face_rate", 2)]
        assert shown == [f"{table.by_seed(cell, metric)[0]:.{digits}f}" for metric, digits in values]


def test_the_table_of_budgets_is_that_of_the_run():
    readme = (ROOT / "README.md").read_text()
    speed = int(re.search(r"\((\d+) images/s, bf16, compiled;", readme)[1])
    rows = list(csv.DictReader((RESULTS / "faces" / "budget.csv").read_text().splitlines()))
    assert len(rows) == 5
    for row in rows:
        images = int(row["images"])
        numbers = f"{float(row['swd']):.0f} | {float(row['face_rate']):.2f}"
        assert f"| {images:,} | {images / speed / 60:.0f} | {numbers} |" in readme
    runs = csv.DictReader((RESULTS / "faces" / "runs.csv").read_text().splitlines())
    assert speed == next(round(float(run["images_per_s"])) for run in runs if (run["cell"], run["seed"]) == ("P", "0"))


def table_under(heading: str, name: str) -> dict[str, list[str]]:
    """The first table of a section of docs/results.md whose text names the file ``name``: {first cell: the others}."""
    text = (ROOT / "docs" / "results.md").read_text()
    section = text.split(f" {heading}\n")[1].split("\n#")[0]
    assert f"results/{name})" in section
    lines = re.search(r"(?:^\|.*\n)+", section, re.M)[0].splitlines()
    cells = [[part.strip() for part in line.strip("|").split("|")] for line in lines]
    return {first.split(" (")[0]: others for first, *others in cells}


def numbers_of(name: str, *keys: str) -> dict[tuple[str, ...], dict[str, str]]:
    rows = csv.DictReader((RESULTS / name).read_text().splitlines())
    return {tuple(row[key] for key in keys): row for row in rows}


def test_the_table_of_the_published_normalisation_is_that_of_its_file():
    table = table_under("What swd sees, and what it does not", "faces/swd_own_normalization.csv")
    rows = numbers_of("faces/swd_own_normalization.csv", "name")
    cells = ["real" if cell == "other real images" else cell for cell in table.pop("")]
    for metric in ("swd", "swd_32", "swd_16", "swd_8"):
        shown = table.get(metric) or table[f"`{metric}`"]
        assert shown == [f"{float(rows[cell,][metric]):.0f}" for cell in cells], metric
    swd = {cell: float(rows[cell,]["swd"]) for cell in cells}
    text = (ROOT / "docs" / "results.md").read_text()
    assert f"({100 * (1 - swd['P'] / swd['control']):.0f} % lower)" in text
    assert f"CP is {100 * (swd['CP'] / swd['P'] - 1):.0f} % worse than P here" in text
    ours, theirs = (float(rows[f"{cell} seed 10",]["swd"]) for cell in ("CP", "P"))
    assert f"still {100 * (ours / theirs - 1):.0f} % worse ({ours:.0f}\n  against {theirs:.0f})" in text


def test_what_the_words_say_of_the_published_normalisation_at_the_larger_rate_is_that_of_its_file():
    rows = numbers_of("faces_lr/swd_own_normalization.csv", "name")
    ours, theirs = ({key: float(rows[cell,][key]) for key in ("swd", "spectrum_db")} for cell in ("S_long_end", "P"))
    first = [
        StudyTable(RESULTS / study).by_seed(cell, "swd")[0]
        for study, cell in (("faces_lr", "S_long_end"), ("faces_lr_again", "P"))
    ]
    page = " ".join((ROOT / "docs" / "results.md").read_text().split())
    measures = f"`S_long_end` has {ours['swd']:.0f}, P {theirs['swd']:.0f}, where the first measure has"
    assert f"{measures} {first[0]:.0f} and {first[1]:.0f} (seed 0" in page
    gains = [100 * (1 - one / other) for one, other in ((ours["swd"], theirs["swd"]), first)]
    assert f"with contrast left out it is {gains[0]:.0f} % (one seed)" in " ".join(
        (ROOT / "README.md").read_text().split()
    )
    assert "{:.0f} % lower instead of {:.0f}.".format(*gains) in page
    assert f"is {ours['spectrum_db']:.1f} dB from that of real images, of P's {theirs['spectrum_db']:.1f} dB" in page


def test_the_table_of_more_steps_is_that_of_its_file():
    table = table_under("With more steps", "faces/steps_250.csv")
    rows = numbers_of("faces/steps_250.csv", "cell", "seed")
    cells = table.pop("seed")[:3]
    assert cells == ["P", "S", "CP"]
    swd = {key: float(row["swd"]) for key, row in rows.items()}
    for seed in ("0", "1", "10"):
        assert table[seed][:3] == [f"{swd[cell, seed]:.0f}" if (cell, seed) in swd else "-" for cell in cells]
    gain = interval([100 * (1 - swd["S", seed] / swd["P", seed]) for seed in ("0", "1", "10")])
    text = (ROOT / "docs" / "results.md").read_text()
    assert f"by {gain.mean:.0f} % in the mean ({gain.low:.0f} to {gain.high:.0f})" in text


def test_the_table_of_coarse_before_fine_is_that_of_its_file():
    table = table_under("C1: coarse features are learned before fine ones", "faces/stages.csv")
    rows = numbers_of("faces/stages.csv", "cell", "stage")
    for cell, name in (("C", "C"), ("uniform", "control")):
        for metric in ("swd_8", "swd_32"):
            shown = [float(rows[cell, str(stage)][metric]) for stage in range(1, 6)]
            assert table[f"{name}, `{metric}`"] == [f"{value:.0f}" for value in shown]


def test_the_first_table_of_the_readme_is_that_of_the_study():
    readme = (ROOT / "README.md").read_text()
    table = StudyTable(RESULTS / "faces")
    rows = [(table, *row) for row in (("uniform", "control"), ("C", "C: "), ("P", "P: "), ("S", "S: "))]
    rows += [(StudyTable(RESULTS / "faces_lr"), cell, f"{cell}, learning rate 1e-3") for cell in ("P", "S")]
    one = (
        ("uniform", "control, learning rate 1e-3, 1 seed"),
        ("S_long_end", "S with a long plain end, learning rate 1e-3"),
    )
    rows += [(StudyTable(RESULTS / "faces_lr"), *row) for row in one]
    for table, cell, name in rows:
        shown = re.search(rf"^\| ({name}[^|]*) \| (.*) \|$", readme, re.M)
        values = [[*table.by_seed(cell, metric).values()] for metric in ("swd", "bpd", "face_rate")]
        assert len(values[0]) == (1 if "1 seed" in shown[1] else 3)
        shown = shown[2].split(" | ")
        texts = [summary.mean_text(each, digits) for each, digits in zip(values, (0, 2, 2), strict=True)]
        assert shown == [texts[0], texts[1], texts[2].split(" ")[0]]


def test_what_the_words_say_of_the_long_plain_end_is_what_the_study_gives():
    table = StudyTable(RESULTS / "faces_lr")
    page, readme = (" ".join((ROOT / name).read_text().split()) for name in ("docs/results.md", "README.md"))
    swd, bpd = (table.improvement("S_long_end", "P", metric) for metric in ("swd", "bpd"))
    assert swd.seeds == 3 and swd.low < 0 < swd.high and bpd.mean > -1  # not sure, and no more than 1 %
    ours, theirs = table.by_seed("S_long_end", "swd"), table.by_seed("P", "swd")
    seeds = [f"{100 * (1 - ours[seed] / theirs[seed]):.0f}" for seed in (0, 1, 10)]
    sure = f"{-bpd.mean:.1f} % worse bits/dim ({-bpd.high:.1f} to {-bpd.low:.1f})"
    assert f"{swd.mean:.0f} % lower swd than P at the same learning rate, not sure with 3 seeds" in readme
    low, high = f"{swd.low:.0f}", f"{swd.high:.0f}"
    by_seed = "{}, {} and {} %".format(*seeds)
    assert f"{swd.mean:.0f} % lower swd ({low} to {high}: {by_seed} by seed), {sure}" in readme
    assert f"{swd.mean:.0f} % lower swd ({low} to {high}), {sure}" in page
    assert f"({seeds[0]} %), not on the two that were to confirm it ({seeds[1]} and {seeds[2]} %)" in page
    assert f"`S_long_end` against P has {by_seed[:-1]}% lower swd by seed (0, 1, 10), {sure}" in page
    ratios = {cell: loss_ratios(table, cell) for cell in ("S_long_end", "S")}
    for cell, name in (("S_long_end", "`S_long_end`"), ("S", "S")):
        assert f"{name} {' '.join(f'{sum(band) / 3:.2f}' for band in ratios[cell])}" in page
    high_noise = [ratio for band in ratios["S_long_end"][4:] for ratio in band]
    saved = f"{100 * (1 - max(high_noise)):.0f} to {100 * (1 - min(high_noise)):.0f} %"
    assert (
        f"at t > 0.4 T its loss is {saved} below P's on each seed" in page and f"{saved} less loss at t > 0.4" in readme
    )
    assert max(abs(ratio - 1) for ratio in ratios["S_long_end"][0]) == pytest.approx(0.006, abs=5e-4)


def test_what_the_words_say_of_the_order_is_what_the_study_gives():
    table = StudyTable(RESULTS / "faces_lr")
    page, readme = (" ".join((ROOT / name).read_text().split()) for name in ("docs/results.md", "README.md"))

    def gains(cell: str, control: str) -> tuple[float, float]:
        pairs = ((table.by_seed(cell, metric)[0], table.by_seed(control, metric)[0]) for metric in ("swd", "bpd"))
        return tuple(100 * (1 - ours / theirs) for ours, theirs in pairs)

    assert sorted(table.by_seed("S_no_order", "swd")) == [0] and "0.3125" in page
    (swd, bpd), (more, better) = gains("S_no_order", "P"), gains("S_long_end", "S_no_order")
    assert f"{swd:.0f} % lower swd than P, {-bpd:.1f} % worse bits/dim" in page
    assert f"`S_long_end` has {more:.0f} % lower swd and {better:.1f} % better bits/dim than that" in page
    falling = gains("S_long_end", "P")
    told = f"{swd:.0f} % lower swd than P at {-bpd:.1f} % worse bits/dim; falling to the plain loss, {falling[0]:.0f} %"
    assert f"{told} at {-falling[1]:.1f} %" in readme
    bands = [[table.by_seed(cell, f"loss_band{k}")[0] for k in range(1, 11)] for cell in ("S_no_order", "S_long_end")]
    assert " ".join(f"{one / other:.2f}" for one, other in zip(*bands, strict=True)) in page


def loss_ratios(table: StudyTable, cell: str) -> list[list[float]]:
    """The held-out loss of a cell over that of P: per tenth of the timesteps, low noise first, by seed."""
    bands = [(table.by_seed(cell, f"loss_band{band}"), table.by_seed("P", f"loss_band{band}")) for band in range(1, 11)]
    return [[ours[seed] / theirs[seed] for seed in (0, 1, 10)] for ours, theirs in bands]


def test_what_the_words_say_of_a_run_made_again_is_what_both_give():
    page = " ".join((ROOT / "docs" / "results.md").read_text().split())
    here, again = (StudyTable(RESULTS / name) for name in ("faces_lr", "faces_lr_again"))

    def both(metric: str) -> tuple[float, float]:
        return again.by_seed("S_long_end", metric)[0], here.by_seed("S_long_end", metric)[0]

    (fp32, bf16), (its_bpd, bpd) = both("swd"), both("bpd")
    assert f"has swd {fp32:.0f} and bits/dim {its_bpd:.2f}, in bf16 on the newer one {bf16:.0f} and {bpd:.2f}" in page
    xeon, amd = ((each.by_seed("P", "swd")[0], each.by_seed("P", "bpd")[0]) for each in (here, again))
    assert (
        "on the Xeon swd {:.0f} and bits/dim {:.2f}, on the newer AMD EPYC {:.0f} and {:.2f}".format(*xeon, *amd)
        in page
    )
    less = [100 * (1 - one / other) for one, other in (both(f"loss_band{band}") for band in range(1, 11))]
    assert f"{100 * (1 - its_bpd / bpd):.1f} % better bits/dim and {min(less):.1f} to {max(less):.1f} % less" in page


def test_what_the_words_say_across_learning_rates_is_what_the_two_studies_give():
    low, high = StudyTable(RESULTS / "faces"), StudyTable(RESULTS / "faces_lr")

    def gain(cell: str, control: str, metric: str):
        ours, theirs = high.by_seed(cell, metric), low.by_seed(control, metric)
        return interval([100 * (1 - ours[seed] / theirs[seed]) for seed in sorted(ours)])

    page = " ".join((ROOT / "docs" / "results.md").read_text().split())
    p, s, across = gain("P", "P", "bpd"), gain("S", "S", "bpd"), gain("S", "P", "bpd")
    assert f"bits/dim of P {p.mean:.1f} % better ({p.low:.1f} to {p.high:.1f})" in page
    assert f"of S {s.mean:.1f} % ({s.low:.1f} to {s.high:.1f})" in page
    assert f"S at 1e-3 has {across.mean:.1f} % better bits/dim ({across.low:.1f} to {across.high:.1f})" in page
    p, s, across = gain("P", "P", "swd"), gain("S", "S", "swd"), gain("S", "P", "swd")
    assert f"swd of P {-p.mean:.0f} % worse ({-p.high:.0f} to {-p.low:.0f}), of S the same" in page
    assert s.low < 0 < s.high and f"at {across.mean:.0f} % lower swd ({across.low:.0f} to {across.high:.0f}" in page
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"against P at 5e-4, S at 1e-3 is {gain('S', 'P', 'swd').mean:.0f} % lower in swd (-24 to 36" in readme
    assert f"and {gain('S', 'P', 'bpd').mean:.1f} % better in bits/dim" in readme
    swd, bpd = gain("S_long_end", "P", "swd"), gain("S_long_end", "P", "bpd")
    assert f"{swd.mean:.0f} % lower swd ({swd.low:.0f} to {swd.high:.0f}) and {bpd.mean:.1f} % better bits/dim" in page
    assert f"`S_long_end` {bpd.mean:.1f} % better bits/dim ({bpd.low:.1f} to {bpd.high:.1f})" in page
    control = {metric: high.by_seed("uniform", metric)[0] for metric in ("swd", "bpd")}
    rate = 100 * (1 - control["bpd"] / low.by_seed("uniform", "bpd")[0])
    assert f"The control gains {rate:.1f} % of bits/dim from the larger rate (seed 0)" in page
    swd = f"swd {control['swd']:.0f} against {low.by_seed('uniform', 'swd')[0]:.0f}"
    assert f"draws as before: {swd}, face rate {high.by_seed('uniform', 'face_rate')[0]:.2f}" in page
    assert high.by_seed("P", "bpd")[0] == pytest.approx(control["bpd"], rel=5e-4)
    assert f"{100 * (1 - high.by_seed('P', 'swd')[0] / control['swd']):.0f} % lower swd (seed 0)" in page

"""What docs/results.md and the README claim is what the tables in the tree give."""

import csv
import re

import pytest
from helpers import ROOT

from experiments import ledger, summary
from experiments.claims import StudyTable, interval
from mindiffusion.runtime.errors import UserError

RESULTS = ROOT / "docs" / "results"
FROM_TABLES = ("c1", "c2", "c4", "c6", "c7")  # the others look into checkpoints
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

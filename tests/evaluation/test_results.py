"""The table on a terminal: 80 columns, honest digits, directions said; and the picture of differences."""

import math

import pytest

from mindiffusion.evaluation.bootstrap import Estimate
from mindiffusion.evaluation.plots import plot_report
from mindiffusion.evaluation.results import Result, rounded, table_text

SETTINGS = {"sampler": "DDIM, 50 steps, eta 1", "reference_images": 1000}
ROW = {
    "swd": Estimate(188.43, 182.6, 194.2),
    "swd_32": Estimate(150.0, 140.0, 160.0),
    "color_error": Estimate(0.11523, 0.1105, 0.1199),
    "loss_band1": Estimate(0.4, 0.39, 0.41),
    "loss": Estimate(0.0378, 0.0340, 0.0416),
    "face_rate": Estimate(0.97, 0.96, 0.98),
    "spectrum_db_1": Estimate(1.5, 1.2, 1.8),
    "spectrum_db": Estimate(1.5, 1.2, 1.8),
}


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(188.43, 182.6, 194.2), "188±6"),
        (Estimate(0.11523, 0.1105, 0.1199), "0.115±0.005"),
        (Estimate(0.11523, 0.1138, 0.1168), "0.1152±0.0015"),
        (Estimate(4.5678), "4.568"),
        (Estimate(math.nan), "-"),
        (Estimate(1.0, 0.0, math.inf), "1"),
        (None, "-"),
    ],
)
def test_digits_are_those_that_the_interval_allows(estimate, text):
    assert rounded(estimate) == text


def table(*names: str, kind: str = "model") -> str:
    about = {"kind": kind, "reference": "held out", "samples": 1000}
    return table_text([Result(name, ROW, about) for name in names], SETTINGS)


@pytest.mark.parametrize("count", [1, 4, 9])
def test_the_table_fits_80_columns_whatever_the_number_and_length_of_names(count):
    names = [f"a run of a long name, number {k}" for k in range(count)]
    text = table(*names)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("188±6") == count


def test_a_picture_is_drawn_of_one_row_and_of_many(tmp_path):
    pytest.importorskip("matplotlib")
    terms = [{"t_first": 1, "t_last": 1, "loss": 0.5}, {"t_first": 2, "t_last": 1000, "loss": 0.1}]
    for names in (("control",), ("control", "C", "CS")):
        results = [Result(name, ROW, {"kind": "model", "reference": "held out", "terms": terms}) for name in names]
        assert plot_report(tmp_path / "a.png", results, SETTINGS)
        assert (tmp_path / "a.png").stat().st_size > 10_000

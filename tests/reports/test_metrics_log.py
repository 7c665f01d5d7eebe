"""metrics.csv as people leave it."""

from mindiffusion.reports.metrics_log import COLUMNS, MetricsFile, read_metrics


def test_a_column_that_somebody_added_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    row = ",".join("1" for _ in COLUMNS)
    path.write_text(f"{','.join(COLUMNS)},note\n{row},mine\n")
    MetricsFile(path).keep_up_to(1)
    assert read_metrics(path) == [dict.fromkeys(COLUMNS, "1")]

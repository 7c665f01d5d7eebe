"""What a configuration out of a file may say."""

import pytest

from mindiffusion.checkpoints.foreign import checked_config, checked_data

GOOD = {"variant": "c", "seed": 0, "global_batch_size": 256, "n_T": 1000, "betas": [1e-4, 0.02], "n_feat": 32}
STAGE = {"name": "one", "epochs": 5, "t_min": 0.8}
DEEP = []
for _ in range(50):
    DEEP = [DEEP]


def test_what_runs_write_is_accepted_and_words_are_made_plain():
    config = checked_config({**GOOD, "variant": "\x1b[2J", "stages": [{**STAGE, "name": "a\u202e"}], "more": None})
    assert config["variant"] == "?[2J" and config["stages"][0]["name"] == "a?"
    assert checked_data({"images": 24, "kind": "folder", "files": "\0"})["files"] == "?"


@pytest.mark.parametrize(
    "change",
    [
        *({"n_T": value} for value in (0, 10**6, 10**400, 1e3, "1000", True, None)),
        *({"n_feat": value} for value in (0, 10**6)),
        *({"image_size": value} for value in (0, 10**6)),
        *({"global_batch_size": value} for value in (0, -1, [1])),
        *({"betas": value} for value in (3, [0.1], [0.1, "x"], [0.1, 2])),
        *({"stages": value} for value in ([], {}, [3], [STAGE] * 101, [{"epochs": 5}], [{"name": "a"}])),
        *({"stages": [{**STAGE, **value}]} for value in ({"epochs": 0}, {"lam": "x"}, {"lam": 1e300})),
        *({"constants": value} for value in ([], {"a": {}}, {"a": [[1]]})),
        {"train_images": "x"},
        {"lr": float("nan")},
        {"sparsity_schedule": [1, 2, 3]},
        {"variant": 3},
        {"notes": DEEP},
    ],
)
def test_what_no_run_can_be_told_is_refused(change):
    words = r"no run has|1 to 100|numbers, words|invalid literal|nested|no number|must lie|must satisfy|are numbers|zip"
    with pytest.raises(ValueError, match=words):
        checked_config({**GOOD, "stages": [STAGE], **change})


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"images": 0},
        {"images": 24, "kind": [1]},
        {"images": 24},
        {"images": 24, "kind": "synthetic"},
        *({"images": 1, "kind": "folder", "places": value} for value in ("x", 3, "5-7-9")),
        {"images": 1, "kind": {}},
        {"images": 1, "kind": "folder", "stages": 5},
        {"images": 1, "kind": "folder", "seed": -1},
    ],
)
def test_data_that_no_run_has_is_refused(data):
    with pytest.raises(ValueError, match=r"no run has|must lie|1 to 100|invalid literal|unpack"):
        checked_data(data)

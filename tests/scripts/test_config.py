"""Flags and constants: what is accepted, what is refused, what wins."""

import copy
import json

import pytest

from mindiffusion.config import DEMO, TrainConfig, parse_config
from mindiffusion.runtime.errors import UserError
from mindiffusion.stages import Stage

STAGES = [Stage("first", 2, t_min=0.5, t_max=1.0), Stage("second", 3, t_min=0.0, t_max=1.0)]


@pytest.fixture(autouse=True)
def no_env(monkeypatch, tmp_path):
    monkeypatch.delenv("CELEBA_PATH", raising=False)
    monkeypatch.chdir(tmp_path)


def parse(*argv):
    return parse_config("doc", list(argv), variant="c", stages=STAGES)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--image-size", "33"], "--image-size is 33"),
        (["--lr", "nan"], "--lr is nan"),
        (["--ema-decay", "1"], "--ema-decay is 1"),
        (["--epochs-per-stage", "1", "0"], "--epochs-per-stage has 0"),
        (["--epochs-per-stage", "1"], "has 1 numbers, but this script has 2"),
        (["--resume", "--overwrite"], "give one of them"),
        (["--resume", "x.pt", "--init-from", "x"], "give one of them"),
        (["--resume", ""], "--resume has an empty path"),
        (["--seed", str(2**64)], r"--seed is 18446744073709551616; it must lie in 0\.\.9223372036854775807"),
        (["--sampler", "ddpm", "--sample-eta", "1"], "DDPM takes every step"),
        (["--compile", "reduce-overhead", "--micro-batch-size", "4"], "leave --micro-batch-size out"),
    ],
)
def test_bad_values_are_named(argv, message):
    with pytest.raises(UserError, match=message):
        parse(*argv)


def test_the_path_comes_from_the_flag_then_the_environment_then_dotenv(tmp_path, monkeypatch):
    assert parse().data_path == ""
    (tmp_path / ".env").write_text("CELEBA_PATH=/from/dotenv\n")
    monkeypatch.setenv("CELEBA_PATH", "/from/environment")
    assert parse().data_path == "/from/environment"
    assert parse("--data-path", "/from/flag").data_path == "/from/flag"
    monkeypatch.delenv("CELEBA_PATH")
    assert parse().data_path == "/from/dotenv"


def test_a_dotenv_of_another_encoding_is_a_user_error(tmp_path):
    (tmp_path / ".env").write_bytes("CELEBA_PATH=/fotos/münchen".encode("latin-1"))
    with pytest.raises(UserError, match=r"\.env cannot be read.*UTF-8"):
        parse()


@pytest.mark.parametrize(
    ("argv", "mode"),
    [("", None), ("--compile", "default"), ("--compile reduce-overhead", "reduce-overhead"), ("--no-compile", "")],
)
def test_compile_takes_a_mode_and_the_last_word_counts(argv, mode):
    assert parse(*argv.split()).compile == mode
    assert parse("--compile", *argv.split()).compile == (mode if argv else "default")


def test_flags_win_over_demo_and_demo_over_constants():
    config = parse("--demo", "--lr", "0.5")
    assert config.lr == 0.5 and config.data_path == "synthetic-tiles" and config.n_feat == DEMO["n_feat"]


def test_identity_holds_the_science_and_not_the_machine():
    same = ["--device", "cpu", "--output-dir", "x", "--num-samples", "1", "--micro-batch-size", "2", "--no-figures"]
    assert parse().identity() == parse(*same).identity()
    assert parse().identity() != parse("--seed", "1").identity()
    assert parse().identity() != parse("--epochs-per-stage", "2", "4").identity()


def test_a_control_takes_the_epochs_of_stages_and_trains_as_long_as_they_do_together():
    stages = [Stage("uniform", 80, t_min=0.0, t_max=1.0)]
    config = parse_config("doc", ["--epochs-per-stage", "1", "2", "3"], variant="", stages=stages)
    assert [stage.epochs for stage in config.stages] == [6]
    with pytest.raises(UserError, match="--epochs-per-stage has -1"):
        parse_config("doc", ["--epochs-per-stage", "-1", "2"], variant="", stages=stages)


def test_a_stage_carries_numbers_is_never_changed_and_survives_a_file():
    stage = Stage("a", 2, t_min=0.5, warmth=3)
    assert (stage.name, stage.epochs, stage.t_min, stage.warmth) == ("a", 2, 0.5, 3)
    assert stage.values == {"t_min": 0.5, "warmth": 3}
    assert Stage(**json.loads(json.dumps(stage.to_dict()))) == stage and len({stage, copy.deepcopy(stage)}) == 1
    assert stage != Stage("a", 2, t_min=0.5)
    with pytest.raises(AttributeError):
        stage.t_min = 0.1
    with pytest.raises(AttributeError):
        _ = stage.sparsity


@pytest.mark.parametrize(
    "values", [{"x": "0.5"}, {"x": float("nan")}, {"x": True}, {"x": [1]}, {"values": 1.0}, {"epochs": 0}]
)
def test_a_stage_of_anything_but_numbers_is_refused(values):
    with pytest.raises(UserError, match=r"are numbers|another name|must lie"):
        Stage(**{"name": "a", "epochs": 1, **values})


def test_a_constant_or_a_value_of_a_stage_is_part_of_the_identity():
    def identity(stage=Stage("a", 1), **constants):  # noqa: B008
        return TrainConfig("c", (stage,), constants).identity()

    assert identity() == identity()
    assert identity(regrowth="random") != identity(regrowth="gradient") != identity()
    assert identity(Stage("a", 1, p=0.1)) != identity(Stage("a", 1, p=0.2)) != identity()


@pytest.mark.parametrize(
    ("constants", "stages", "message"),
    [({"a": {"b": 1}}, 1, "CONSTANTS is .*numbers, words"), ({}, 0, "STAGES is .*1 to"), ({}, 101, "STAGES is .*1 to")],
)
def test_what_a_checkpoint_could_not_keep_is_refused_before_the_run(constants, stages, message):
    TrainConfig("c", (Stage("a", 1),), {"widths": [1, 2], "deep": (True, None), "name": "x"})
    with pytest.raises(UserError, match=message):
        TrainConfig("c", tuple(Stage(str(number), 1) for number in range(stages)), constants)


@pytest.mark.parametrize("epochs", [1, 2])
def test_two_stages_of_one_name_equal_or_not_are_refused_as_they_could_not_be_told_apart(epochs):
    with pytest.raises(UserError, match="two stages have one name"):
        TrainConfig("c", (Stage("a", 1), Stage("a", epochs)))


@pytest.mark.parametrize("number", [1, 2, 5, 6, 9])
def test_the_demo_takes_any_number_of_stages(number):
    stages = [Stage(f"s{index}", 7) for index in range(number)]
    epochs = [stage.epochs for stage in parse_config("doc", ["--demo"], variant="c", stages=stages).stages]
    assert len(epochs) == number and 11 <= sum(epochs) <= 17
    assert number != 5 or epochs == [1, 3, 3, 3, 3]

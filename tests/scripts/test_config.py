"""Flags and constants: what is accepted, what is refused, what wins."""

import pytest

from mindiffusion.config import DEMO, Stage, parse_config
from mindiffusion.runtime.errors import UserError

STAGES = [Stage(0.5, 1.0, "first", 2), Stage(0.0, 1.0, "second", 3)]
FLAGS = [
    "--data-path",
    "--crop",
    "--image-size",
    "--output-dir",
    "--seed",
    "--epochs-per-stage",
    "--global-batch-size",
    "--micro-batch-size",
    "--lr",
    "--n-feat",
    "--ema-decay",
    "--precision",
    "--compile",
    "--no-compile",
    "--device",
    "--num-samples",
    "--sample-steps",
    "--checkpoint-minutes",
    "--resume",
    "--overwrite",
    "--init-from",
    "--demo",
    "--dry-run",
    "--skip-bad-images",
    "--figures",
    "--no-figures",
    "--tensorboard",
]


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
        (["--n-feat", "12"], "--n-feat is 12"),
        (["--lr", "0"], r"--lr is 0\.0"),
        (["--lr", "nan"], "--lr is nan"),
        (["--ema-decay", "1"], "--ema-decay is 1"),
        (["--global-batch-size", "0"], "--global-batch-size is 0"),
        (["--micro-batch-size", "-1"], "--micro-batch-size is -1"),
        (["--num-samples", "-1"], "--num-samples is -1"),
        (["--sample-steps", "0"], "--sample-steps is 0"),
        (["--checkpoint-minutes", "0"], "--checkpoint-minutes is 0"),
        (["--epochs-per-stage", "1", "0"], "second has 0 epochs"),
        (["--epochs-per-stage", "1"], "has 1 numbers, but this script has 2"),
        (["--resume", "--overwrite"], "give one of them"),
        (["--resume", "x.pt", "--init-from", "x"], "give one of them"),
        (["--resume", ""], "--resume has an empty path"),
        (["--init-from", ""], "--init-from has an empty path"),
        (["--seed", str(2**64)], r"--seed is 18446744073709551616; it must lie below 2\*\*63"),
        (["--sampler", "ddpm", "--sample-eta", "1"], "DDPM takes every step"),
        (["--compile", "reduce-overhead", "--micro-batch-size", "4"], "leave --micro-batch-size out"),
    ],
)
def test_bad_values_are_named(argv, message):
    with pytest.raises(UserError, match=message):
        parse(*argv)


@pytest.mark.parametrize(
    "argv", [["--crop", "139"], ["--compile", "graphs"], ["--precision", "fp8"], ["--seed", "x"], ["--what"]]
)
def test_bad_words_exit_with_code_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        parse(*argv)
    assert end.value.code == 2 and "error:" in capsys.readouterr().err


def test_every_flag_is_offered(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    assert [flag for flag in FLAGS if flag not in text] == []


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
    [
        ([], None),
        (["--compile"], "default"),
        (["--compile", "reduce-overhead"], "reduce-overhead"),
        (["--no-compile"], ""),
    ],
)
def test_compile_takes_a_mode_and_the_last_word_counts(argv, mode):
    assert parse(*argv).compile == mode
    assert parse("--compile", *argv).compile == (mode if argv else "default")


def test_flags_win_over_demo_and_demo_over_constants():
    config = parse("--demo", "--lr", "0.5")
    assert config.lr == 0.5 and config.data_path == "synthetic-demo" and config.n_feat == DEMO["n_feat"]


def test_identity_holds_the_science_and_not_the_machine():
    same = ["--device", "cpu", "--output-dir", "x", "--num-samples", "1", "--micro-batch-size", "2", "--no-figures"]
    assert parse().identity() == parse(*same).identity()
    assert parse().identity() != parse("--seed", "1").identity()
    assert parse().identity() != parse("--epochs-per-stage", "2", "4").identity()


def test_a_control_takes_the_epochs_of_stages_and_trains_as_long_as_they_do_together():
    stages = [Stage(0.0, 1.0, "uniform", 80)]
    config = parse_config("doc", ["--epochs-per-stage", "1", "2", "3"], variant="", stages=stages)
    assert [stage.epochs for stage in config.stages] == [6]
    with pytest.raises(UserError, match="--epochs-per-stage has -1"):
        parse_config("doc", ["--epochs-per-stage", "-1", "2"], variant="", stages=stages)


def test_help_names_each_default_once(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "draw figures at stage ends (default: on)" in text
    assert "seed of everything random (default: 0)" in text
    assert "(default) (default" not in text

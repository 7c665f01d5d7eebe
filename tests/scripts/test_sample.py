"""sample.py over several processes and batches: image i depends on the seed and i alone."""

import re
from pathlib import Path

import pytest
import torch
from helpers import C, checkpoints, code_of, contents, load_script, sample
from helpers import launch as train
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from mindiffusion.ddim import DDIM
from mindiffusion.reports.grid_picture import read_grid
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import BlockNoise
from mindiffusion.runtime.signals import Stopped
from mindiffusion.unet import NaiveUnet


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "bare.pth"
    torch.save(NaiveUnet(3, 3, 8).state_dict(), path)
    return path


@pytest.fixture
def launch(weights, tmp_path):
    """Runs sample.py on the weights; returns the images of its folder, by number."""

    def run(folder: str, *flags: str, model: Path = weights) -> dict[int, torch.Tensor]:
        sample(model, "-o", tmp_path / folder, "--steps", "2", "--device", "cpu", *flags)
        return {int(path.stem): pil_to_tensor(Image.open(path)) for path in (tmp_path / folder).glob("*.png")}

    return run


@pytest.mark.parametrize("flags", [("--steps", "3", "--eta", "0"), ("--steps", "3"), ("--precision", "bf16")])
def test_shards_and_batches_give_the_images_of_one_process(weights, flags):
    program = load_script("sample")
    args = program.parse_args([str(weights), *flags])
    model = program.open_model(args.checkpoint)

    def draw(first: int, count: int, batch_size: int = 256) -> torch.Tensor:
        return program.draw(model, args.sampler, count, first, batch_size=batch_size, precision=args.precision)

    whole, parts = draw(0, 5), torch.cat([draw(0, 3, 2), draw(3, 2)])
    torch.testing.assert_close(parts, whole, atol=1e-2, rtol=0)  # rounding at t = T is amplified 150-fold
    assert (whole[0] - whole[1]).abs().max() > 0.1
    assert draw(5, 0).shape == (0, 3, 32, 32)


def test_a_second_call_draws_what_is_missing_alone(launch, tmp_path, monkeypatch, capsys):
    images = launch("one", "-n", "5", "--batch-size", "2")
    assert sorted(images) == list(range(5))
    assert re.search(r"5 images in .*, [\d.]+ images/s", capsys.readouterr().out)
    for number in (1, 4):
        (tmp_path / "one" / f"{number:06d}.png").unlink()
    drawn, init = set(), BlockNoise.__init__

    def noting(self, seed, purpose, first, count, *rest):
        drawn.update(range(first, first + count))
        init(self, seed, purpose, first, count, *rest)

    monkeypatch.setattr(BlockNoise, "__init__", noting)
    again = launch("one", "-n", "6")
    assert drawn == {1, 4, 5}
    assert "6 images in" in (said := capsys.readouterr().out) and "3 of them from before" in said
    assert all((images[number].int() - again[number].int()).abs().max() <= 2 for number in images)  # of 255
    with pytest.raises(UserError, match=r"something else \(seed 0 there and 1 now"):
        launch("one", "-n", "6", "--seed", "1")


def test_what_was_drawn_before_ctrl_c_is_there(launch, tmp_path, monkeypatch):
    predict, asked = DDIM.predict, []

    def stopped(self, x, step, clip_x0):
        asked.append(step)
        if len(asked) == 5:
            raise Stopped("stopped by signal 2", 130)
        return predict(self, x, step, clip_x0)

    monkeypatch.setattr(DDIM, "predict", stopped)
    with pytest.raises(Stopped, match=r"is in .*The same command goes on") as caught:
        launch("one", "-n", "6", "--batch-size", "2")
    assert caught.value.exit_code == 130
    assert sorted(path.name for path in (tmp_path / "one").glob("*.png")) == [f"{n:06d}.png" for n in range(4)]
    assert len(launch("one", "-n", "6", "--batch-size", "2")) == 6


def test_ranks_write_their_share_of_a_folder_under_global_numbers(launch, tmp_path, monkeypatch):
    images = launch("one", "-n", "3")

    class Last(Ranks):
        def barrier(self):
            pass

        def from_main(self, work):
            return work()

    monkeypatch.setattr("mindiffusion.runtime.distributed.Ranks", lambda **_: Last(1, 1, 2))
    (mine,) = launch("two", "-n", "3").items()
    assert mine[0] == 2
    torch.testing.assert_close(mine[1], images[2], atol=2, rtol=0)  # of 255


def test_what_is_there_is_kept_and_what_cannot_be_written_is_told_before_sampling(launch, tmp_path, monkeypatch):
    grid = tmp_path / "grid.png"
    launch("grid.png", "-n", "2")
    before = grid.read_bytes()
    monkeypatch.setattr(DDIM, "predict", lambda *args: pytest.fail("sampled in vain"))
    for output, words in (("grid.png", "is there already"), ("grid.png/in/x.png", "cannot write"), ("x.jpg", "name a")):
        with pytest.raises(UserError, match=words):
            launch(output, "-n", "2")
    assert grid.read_bytes() == before


def test_grey_networks_draw_and_others_are_refused_in_a_sentence(launch, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(NaiveUnet(1, 1, 8).state_dict(), path)
    launch("grey.png", "-n", "2", model=path)
    assert read_grid(tmp_path / "grey.png").samples.shape == (2, 32, 32, 3)
    assert launch("grey", "-n", "1", model=path)[0].shape[1:] == (32, 32)
    for channels in ((2, 2), (3, 6)):
        torch.save(NaiveUnet(*channels, 8).state_dict(), path)
        with pytest.raises(UserError, match="images have 1 or 3"):
            launch("x", model=path)


@pytest.mark.parametrize("output", ["grid.png", "folder"])
def test_samples_that_are_no_numbers_are_refused_and_not_written(output, launch, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({name: 1e30 * value for name, value in NaiveUnet(3, 3, 8).state_dict().items()}, path)
    with pytest.raises(UserError, match=r"samples of .*model\.pth are not numbers"):
        launch(output, "-n", "2", model=path)
    assert not list(tmp_path.rglob("*.png"))


def test_a_size_that_the_model_was_not_trained_on_is_refused(launch, finished):
    with pytest.raises(UserError, match="trained on 32x32 images"):
        launch("x.png", "--image-size", "64", model=checkpoints(C, finished(C)))
    assert launch("big", "--image-size", "64", "-n", "1")[0].shape == (3, 64, 64)  # a bare file does not know


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        *((f"--image-size {size}", "positive multiple of 32") for size in (40, -32, 0, 32 * 10**9)),
        *((f"--export x {flag}", "--export draws nothing: leave -") for flag in ("-n 5", "--no-clip --seed 1")),
        *((flag, "must lie in 1..") for flag in (f"-n {10**17} -o x", "-n 0", "-n 5000", f"--batch-size {10**17}")),
        *((flag, "must lie") for flag in ("--steps 0", "--eta 2")),
    ],
)
def test_flags_that_cannot_be_followed_are_refused(flags, words, capsys):
    assert code_of(lambda: load_script("sample").parse_args(["model", *flags.split()])) == 2
    assert words in capsys.readouterr().err


def test_sample_py_draws_the_grid_of_a_run_again(tmp_path):
    train(C, tmp_path, "--num-samples", "3", "--sample-steps", "2", "--seed", "5", "--sampler", "dpm")
    for stage, model in ((1, "stage1.pt"), (5, "")):
        grid = read_grid(next(contents(C, tmp_path).glob(f"stage{stage}_*.png"))).samples
        out = tmp_path / f"again{stage}.png"
        alike = ("-n", "3", "--steps", "2", "--sampler", "dpm", "--seed", "5", "--device", "cpu")
        sample(checkpoints(C, tmp_path) / model, "-o", out, *alike)
        again = read_grid(out).samples
        if stage == 1:  # shown at the resolution that can be read: in mean colours
            grid, again = grid[:, ::32, ::32], again.reshape(3, 1, 32, 1, 32, 3).mean((2, 4)).round()
        assert len(again) == 3 and abs(again.astype(int) - grid).max() <= (stage == 1)

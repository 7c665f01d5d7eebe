"""sample.py over several processes and batches: image i depends on the seed and i alone."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import checkpoints, contents, launch, load_script
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from mindiffusion.checkpoints.models import Model
from mindiffusion.checkpoints.weights import Weights
from mindiffusion.reports.grid_picture import read_grid
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.rng import BlockNoise
from mindiffusion.unet import NaiveUnet


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "bare.pth"
    torch.save(NaiveUnet(3, 3, 8).state_dict(), path)
    return path


def draw(weights, first: int, count: int, *flags: str) -> torch.Tensor:
    sample = load_script("sample")
    args = sample.parse_args([str(weights), *flags])
    return sample.draw(args, Ranks(), sample.open_model(args.checkpoint), first, count)


@pytest.mark.parametrize(
    "flags", [("--steps", "3"), ("--steps", "3", "--eta", "1"), ("--steps", "2", "--precision", "bf16")]
)
def test_shards_and_batches_give_the_images_of_one_process(weights, flags):
    whole = draw(weights, 0, 5, *flags)
    first, second = draw(weights, 0, 3, *flags, "--batch-size", "2"), draw(weights, 3, 2, *flags)
    torch.testing.assert_close(
        torch.cat([first, second]), whole, atol=1e-2, rtol=0
    )  # rounding at t = T is amplified 150-fold
    assert (whole[0] - whole[1]).abs().max() > 0.1
    assert draw(weights, 5, 0, *flags).shape == (0, 3, 32, 32)


def test_noise_of_an_image_is_the_same_in_every_range_across_blocks():
    shape = (2,)
    whole = BlockNoise(0, "x", 0, 200)
    part = BlockNoise(0, "x", 60, 80)
    for _ in range(2):
        assert torch.equal(whole.draw(shape)[60:140], part.draw(shape))


def test_ranks_write_their_share_of_a_folder_under_global_numbers(weights, tmp_path, monkeypatch, capsys):
    sample = load_script("sample")

    def launch(folder: str, *flags: str) -> list[torch.Tensor]:
        argv = ["sample.py", str(weights), "-o", str(tmp_path / folder), "-n", "3", "--steps", "2", *flags]
        monkeypatch.setattr(sys, "argv", [*argv, "--device", "cpu"])
        sample.main()
        return [pil_to_tensor(Image.open(path)) for path in sorted((tmp_path / folder).glob("*.png"))]

    images = launch("one")
    assert len(images) == 3
    assert "3 images in" in (line := capsys.readouterr().out)
    assert "images/s" in line
    sample.save_images(tmp_path, draw(weights, 2, 1, "--steps", "2"), 2)
    again = pil_to_tensor(Image.open(tmp_path / "000002.png"))
    torch.testing.assert_close(again, images[2], atol=2, rtol=0)  # of 255


def test_what_is_there_is_kept_and_what_cannot_be_written_is_told_before_sampling(weights, tmp_path, monkeypatch):
    sample = load_script("sample")

    def launch(*flags: str) -> None:
        argv = ["sample.py", str(weights), "-n", "2", "--steps", "2", "--device", "cpu", *flags]
        monkeypatch.setattr(sys, "argv", argv)
        sample.main()

    grid = tmp_path / "grid.png"
    launch("-o", str(grid))
    before = grid.read_bytes()
    monkeypatch.setattr(sample, "draw", lambda *args: pytest.fail("sampled in vain"))
    with pytest.raises(UserError, match="is there already"):
        launch("-o", str(grid))
    assert grid.read_bytes() == before
    with pytest.raises(UserError, match="cannot write"):
        launch("-o", str(grid / "inside" / "x.png"))
    with pytest.raises(UserError, match=r"name a \.png"):
        launch("-o", "x.jpg")


@pytest.mark.parametrize(
    "flags",
    ["--image-size 40", "--image-size -32", "--image-size 0", "--export x -n 5", "--export x --no-clip --seed 1"],
)
def test_flags_that_cannot_be_followed_are_refused(flags, capsys):
    with pytest.raises(SystemExit) as end:
        load_script("sample").parse_args(["model", *flags.split()])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "positive multiple of 32" in said or "--export draws nothing: leave -" in said


def test_the_caption_tells_which_weights_were_drawn_with():
    sample = load_script("sample")
    args = sample.parse_args(["model"])
    for kind, words in (("averaged", "averaged weights"), ("raw", "last weights")):
        weights = Weights(Path("x.pt"), {}, {"config": {}}, kind)
        assert sample.caption(args, Model(weights, None, 32, (1e-4, 0.02), 1000, 0))[0] == f"x, {words}"


def test_sample_py_draws_the_grid_of_a_run_again(tmp_path, monkeypatch):
    run = "train_celeba_c_32"
    launch(run, tmp_path, "--num-samples", "3", "--sample-steps", "2", "--seed", "5", "--sampler", "dpm")
    for stage, model in ((1, "stage1.pt"), (5, "")):
        grid = read_grid(next(contents(run, tmp_path).glob(f"stage{stage}_*.png"))).samples
        out = tmp_path / f"again{stage}.png"
        argv = [str(checkpoints(run, tmp_path) / model), "-o", str(out), "-n", "3", "--steps", "2", "--sampler", "dpm"]
        monkeypatch.setattr(sys, "argv", ["sample.py", *argv, "--seed", "5", "--device", "cpu"])
        load_script("sample").main()
        again = read_grid(out).samples
        if stage == 1:  # shown at the resolution that can be read: in mean colours
            grid, again = grid[:, ::32, ::32], again.reshape(3, 1, 32, 1, 32, 3).mean((2, 4)).round()
        assert len(again) == 3 and abs(again.astype(int) - grid).max() <= (stage == 1)

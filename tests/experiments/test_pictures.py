"""The programs that draw from trained networks: samplers, and grids side by side."""

import pytest
from helpers import C, launch, write_pngs
from PIL import Image

from experiments import networks, samplers, side_by_side, tables
from mindiffusion.runtime.errors import UserError
from mindiffusion.sampling import Sampler

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a study with one finished run, of C."""
    study = tmp_path_factory.mktemp("study")
    folder = study / "runs" / "C" / "seed0"
    launch(C, folder)
    (folder / "evaluation").mkdir()
    row = {"cell": "C", "seed": 0, "checkpoint": "final", "metric": "swd", "value": 1.0}
    tables.write_csv(study / "results.csv", tables.RESULT_COLUMNS, [row])
    return study


@pytest.fixture
def options(study, cache, tmp_path):
    """Flags of samplers for 8 samples against the last 8 of 24 images."""
    data = ["--data-path", str(write_pngs(tmp_path / "faces")), "--eval-images", "17-24"]
    latest = next(study.glob("runs/C/seed0/checkpoints_*/latest.pt"))
    return [str(latest), *data, "--num-samples", "8", "-o", str(tmp_path / "out")]


def test_samplers_measures_each_setting_once_on_the_same_noise_and_goes_on_after_a_stop(options, tmp_path, monkeypatch):
    drawn = []
    draw = networks.Network.draw

    def noted(self, sampler, *more, **named):
        drawn.append((more, sampler))
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return draw(self, sampler, *more, **named)

    monkeypatch.setattr(networks.Network, "draw", noted)
    call = [*options, "--samplers", "ddim eta=0", "ddim eta=1", "--steps", "2", "4"]
    with pytest.raises(KeyboardInterrupt):
        samplers.main(call)
    samplers.main(call)
    table = tables.read_csv(tmp_path / "out" / "samplers.csv")
    assert [(row["sampler"], row["evaluations"]) for row in table] == [
        ("", "0"),  # real images
        *((f"ddim eta={eta}", steps) for eta in ("0", "1") for steps in ("2", "4")),
    ]
    assert len({row["swd"] for row in table}) == 5 == len({row["swd_own"] for row in table})
    assert {more for more, _ in drawn} == {(8, 0)} and len(drawn) == 5  # as many of the same seed; the stopped one anew
    samplers.main(["-o", str(tmp_path / "out")])  # draws only
    assert (tmp_path / "out" / "samplers.png").exists() and len(drawn) == 5


def test_a_sampler_is_its_name_and_its_settings():
    assert samplers.parse_sampler("ddim eta=0.5 clip_x0=false", 7) == Sampler("ddim", 7, 0.5, clip_x0=False)
    for wrong in ("ddim etta=1", "ddim eta", "ddim eta=x", "nothing eta=1"):
        with pytest.raises(UserError):
            samplers.parse_sampler(wrong, 7)


def test_a_picture_that_cannot_be_written_is_not_drawn(tmp_path):
    with pytest.raises(UserError, match="is a folder, where a file is to be written"):
        side_by_side.main(["nowhere", "-o", str(tmp_path)])


def test_a_network_that_has_not_seen_all_noise_levels_is_refused(study):
    folder = next(study.glob("runs/C/seed0/checkpoints_*"))
    with pytest.raises(UserError, match="trained on t >= 200 only"):
        networks.load_network(folder / "stage4.pt")
    assert networks.load_network(folder / "stage5.pt").model.image_size == 32


def test_side_by_side_draws_a_row_per_cell_and_real_images_only_if_asked(study, cache, tmp_path):
    options = [str(study), "-o", str(tmp_path / "grid.png"), "--columns", "3", "--steps", "2"]
    side_by_side.main(options)
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == (180 + 2 * 3 * 32, 2 * 34)
    faces = write_pngs(tmp_path / "faces")
    side_by_side.main([*options, "--real", "5-24", "--data-path", str(faces)])
    with Image.open(tmp_path / "grid.png") as image, Image.open(faces / "004.png") as face:
        assert image.size == (180 + 2 * 3 * 32, 2 * 2 * 34)
        assert image.getpixel((180, 0)) == face.getpixel((0, 0))
    with pytest.raises(UserError, match="no finished run of seed 7"):
        side_by_side.main([str(study), "-o", str(tmp_path / "grid.png"), "--seed", "7"])

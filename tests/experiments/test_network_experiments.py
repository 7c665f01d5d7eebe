"""The experiments on one network: its samplers, the mean of the noise, the time embedding, the noise of swd."""

import csv

import pytest
import torch
from helpers import checkpoints, launch, write_pngs

from experiments import budget, mean_of_eps, networks, samplers, swd_noise, time_embedding
from mindiffusion.evaluation import swd
from mindiffusion.runtime.errors import UserError
from mindiffusion.sampling import Sampler
from mindiffusion.unet import NaiveUnet, TimeSiren

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A finished run of the control, trained for a second."""
    folder = tmp_path_factory.mktemp("run")
    launch("train_celeba_32", folder)
    return checkpoints("train_celeba_32", folder) / "latest.pt"


@pytest.fixture
def options(checkpoint, cache, tmp_path):
    """The flags that all of them share, for 8 samples against the last 8 of 24 images."""
    faces = write_pngs(tmp_path / "faces")
    data = ["--data-path", str(faces), "--eval-images", "17-24"]
    return [str(checkpoint), *data, "--n-samples", "8", "-o", str(tmp_path / "out")]


def rows(path):
    """A table as a list of dicts."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


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
    table = rows(tmp_path / "out" / "samplers.csv")
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


def test_budget_measures_the_end_of_each_stage_with_the_images_seen(cache, tmp_path):
    launch("train_celeba_s_32", tmp_path)  # five stages of all timesteps
    folder = checkpoints("train_celeba_s_32", tmp_path)
    options = ["--data-path", str(write_pngs(tmp_path / "faces")), "--eval-images", "17-24", "--n-samples", "4"]
    budget.main([str(folder), *options, "--steps", "2", "--columns", "3", "-o", str(tmp_path / "out")])
    table = rows(tmp_path / "out" / "budget.csv")
    assert [(row["checkpoint"], row["images"]) for row in table] == [(f"stage{k}", str(24 * k)) for k in range(1, 6)]
    assert len({row["swd"] for row in table}) == 5 and all(row["samples"] == "4" for row in table)
    assert (tmp_path / "out" / "budget.png").exists()
    with pytest.raises(UserError, match="holds no stage"):
        budget.main([str(tmp_path), *options])


def test_a_network_that_has_not_seen_all_noise_levels_is_refused(tmp_path):
    launch("train_celeba_c_32", tmp_path)
    with pytest.raises(UserError, match="trained on t >= 200 only"):
        networks.load_network(checkpoints("train_celeba_c_32", tmp_path) / "stage4.pt")
    assert networks.load_network(checkpoints("train_celeba_c_32", tmp_path) / "stage5.pt").shape == (3, 32, 32)


def test_line_fit_is_slope_and_correlation():
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    slope, correlation = mean_of_eps.line_fit(x, 0.5 * x + 0.5 * noise + 3)
    assert slope == pytest.approx(0.5, abs=0.02) and correlation == pytest.approx(0.5**0.5, abs=0.02)
    assert mean_of_eps.line_fit(x, -2 * x) == (pytest.approx(-2), pytest.approx(-1))


def network_of(function):
    """A network that answers by a function of (x_t, t)."""

    class Answer(torch.nn.Module):
        def forward(self, x, t):
            return function(x, t)

    return networks.Network(Answer(), (1e-4, 0.02), 1000, (3, 32, 32), torch.device("cpu"), "fp32", False)


def test_a_blind_network_has_slope_0_and_one_that_knows_the_images_has_1():
    images = torch.zeros(50, 3, 32, 32)
    alphabar = network_of(None).process(Sampler()).alphabar_t

    def knows(x, t):  # that images are grey: what is left of x_t is noise
        return x / (1 - alphabar[(t * 1000).round().long()]).sqrt()[:, None, None, None]

    sees = mean_of_eps.means_of_noise(network_of(knows), images, 0)
    assert [row["t"] for row in sees][:: len(sees) - 1] == [1, 1000]
    assert all(row["slope"] == pytest.approx(1, abs=1e-3) and row["error"] < 1e-3 for row in sees)
    blind = mean_of_eps.means_of_noise(network_of(lambda x, t: x - x.mean((2, 3), keepdim=True)), images, 0)
    assert all(abs(row["slope"]) < 1e-3 and row["error"] == pytest.approx(1, abs=1e-3) for row in blind)


def test_a_chain_of_a_blind_network_keeps_the_colour_of_its_noise_unless_fresh_noise_comes_in():
    blind = network_of(lambda x, t: x - x.mean((2, 3), keepdim=True))
    reference = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    kept, washed = (mean_of_eps.colours_of_chains(blind, reference, eta, 20, 40, 0)[-1] for eta in (0.0, 1.0))
    assert kept["correlation_with_x_T"] > 0.8 > 0.5 > washed["correlation_with_x_T"]
    assert kept["t"] == 1 and kept["spread"] > 1


def test_mean_of_eps_writes_both_tables(options, tmp_path):
    mean_of_eps.main([*options, "--steps", "3"])
    assert len(rows(tmp_path / "out" / "mean_of_eps.csv")) == mean_of_eps.TIMES
    chains = rows(tmp_path / "out" / "mean_of_eps_chain.csv")
    assert [row["t"] for row in chains] == ["1000", "500", "1"] * 3
    assert chains[0]["spread"] == chains[3]["spread"] and chains[2]["spread"] != chains[8]["spread"]
    assert (tmp_path / "out" / "mean_of_eps.png").exists()


def test_bf16_keeps_half_of_the_timesteps_apart_and_the_exact_embedding_comes_back():
    torch.manual_seed(0)
    net = NaiveUnet(3, 3, 8)
    assert time_embedding.distinct_embeddings(net, 1000) == 1000
    time_embedding.set_rounding(net, True)
    assert 400 < time_embedding.distinct_embeddings(net, 1000) < 600
    time_embedding.set_rounding(net, False)
    assert isinstance(net.timeembed, TimeSiren) and time_embedding.distinct_embeddings(net, 1000) == 1000


def test_time_embedding_measures_both(options, tmp_path):
    time_embedding.main([*options, "--steps", "2", "--n-loss-images", "2"])
    table = {row["quantity"]: row for row in rows(tmp_path / "out" / "time_embedding.csv")}
    assert table["distinct_embeddings"]["fp32"] == "1000" and int(table["distinct_embeddings"]["bf16"]) < 600
    assert table["loss_band10"]["fp32"] != table["loss_band10"]["bf16"] and "swd" in table
    assert (tmp_path / "out" / "time_embedding.png").exists()


def test_swd_noise_compares_disjoint_sets_and_leaves_swd_as_it_was(options, tmp_path):
    before = swd.PATCHES_PER_IMAGE, swd.DIRECTIONS
    swd_noise.main([*options, "--sets-of", "2", "4", "--patches", "8", "--directions", "16", "32", "--steps", "2"])
    table = rows(tmp_path / "out" / "swd_noise.csv")
    assert [(row["samples"], row["sets"], row["directions"]) for row in table] == [
        ("2", "4", "16"),
        ("2", "4", "32"),
        ("4", "2", "16"),
        ("4", "2", "32"),
    ]
    assert all(float(row["deviation_percent"]) > 0 for row in table) and len({row["swd"] for row in table}) == 4
    assert before == (swd.PATCHES_PER_IMAGE, swd.DIRECTIONS)
    with pytest.raises(UserError, match="twice as many"):
        swd_noise.main([*options, "--sets-of", "5"])
    with pytest.raises(UserError, match="too few for sets of 9"):
        swd_noise.main([*options, "--n-samples", "18", "--sets-of", "9", "--steps", "2"])


def test_the_noise_of_identical_sets_is_zero():
    half = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    reference = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    row = swd_noise.noise_of(torch.cat((half, half)), reference, 4, 128, 64)
    assert row["sets"] == 2 and row["largest_percent"] == 0 == row["deviation_percent"] < row["seed_percent"]

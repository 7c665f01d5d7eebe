"""Forward, sampling and evaluation on fake CUDA tensors (PyTorch's FakeTensorMode), which need no GPU: what meets a CPU
tensor on its way, or asks for a number that only the GPU knows, fails there."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mindiffusion.ddim import DDIM
from mindiffusion.ddpm import DDPM
from mindiffusion.preconditioned_unet import PreconditionedNaiveUnet
from mindiffusion.reg_unet import RegNaiveUnet
from mindiffusion.sampling import denoiser
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.unet import NaiveUnet

GPU = torch.device("cuda", 0)
NETS = {
    "uniform": lambda: NaiveUnet(3, 3, 8),
    "cs": lambda: SparseNaiveUnet(3, 3, 8),
    "cr": lambda: RegNaiveUnet(3, 3, 8),
    "p": lambda: PreconditionedNaiveUnet(3, 3, 8),
}


@pytest.fixture
def fake():
    """FakeTensorMode; on CUDA unless said otherwise."""
    with FakeTensorMode() as mode, torch.device(GPU), torch.no_grad():
        yield mode


@pytest.mark.parametrize("name", NETS)
def test_a_network_stays_on_the_gpu(name, fake):
    out = NETS[name]()(torch.randn(4, 3, 32, 32), torch.rand(4))
    assert out.device == GPU and out.shape == (4, 3, 32, 32)


def on_gpu(process):
    """A process with its buffers as fake CUDA tensors."""
    for name, value in dict(process.named_buffers()).items():
        if value.device != GPU:
            process.get_submodule(name.rpartition(".")[0])._buffers[name.rpartition(".")[2]] = torch.empty_like(
                value, device=GPU
            )
    return process


@pytest.mark.parametrize("kind", ["ddim", "ddim eta 1", "ddpm", "stopped early"])
def test_sampling_stays_on_the_gpu_and_asks_it_for_nothing(kind, fake, monkeypatch):
    # A list of plain numbers, made on the CPU before sampling begins; a fake tensor cannot become one.
    monkeypatch.setattr(DDIM, "timesteps", lambda self, t_stop: [1000, 500, max(t_stop, 1)])
    net = denoiser(NaiveUnet(3, 3, 8), "fp32", GPU, compiled=False)
    if kind == "ddpm":
        process = on_gpu(DDPM(net, n_T=5))
    else:
        process = on_gpu(DDIM(net, steps=3, eta=1.0 if "eta" in kind else 0.0))
    t_stop = 2 if kind == "stopped early" else 0
    images = process.sample(2, (3, 32, 32), x_T=torch.randn(2, 3, 32, 32), t_stop=t_stop)
    assert images.device == GPU


def test_the_training_loss_stays_on_the_gpu(fake):
    loss = on_gpu(DDPM(NaiveUnet(3, 3, 8)))(torch.randn(4, 3, 32, 32))
    assert loss.device == GPU and loss.shape == ()


# --- evaluation -------------------------------------------------------------------------------------------------------

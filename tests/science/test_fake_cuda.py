"""Sampling on fake CUDA tensors (PyTorch's FakeTensorMode), which need no GPU: what meets a CPU tensor on its way, or
asks for a number that only the GPU knows, fails there. training/test_step.py asks the same of a training step."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mindiffusion.ddim import DDIM
from mindiffusion.ddpm import DDPM
from mindiffusion.sampling import denoiser
from mindiffusion.unet import NaiveUnet

GPU = torch.device("cuda", 0)


@pytest.mark.parametrize(("kind", "eta", "t_stop"), [(DDIM, 0.0, 0), (DDIM, 1.0, 0), (DDIM, 0.0, 2), (DDPM, None, 0)])
def test_sampling_stays_on_the_gpu_and_asks_it_for_nothing(kind, eta, t_stop, monkeypatch):
    # A list of plain numbers, made on the CPU before sampling begins; a fake tensor cannot become one.
    monkeypatch.setattr(DDIM, "timesteps", lambda self, t_stop: [1000, 500, max(t_stop, 1)])
    with FakeTensorMode(), torch.device(GPU), torch.no_grad():
        net = denoiser(NaiveUnet(3, 3, 8), "fp32", GPU, compiled=False)
        process = DDPM(net, n_T=5) if kind is DDPM else DDIM(net, steps=3, eta=eta)
        for name, value in dict(process.named_buffers(recurse=False)).items():
            setattr(process, name, torch.empty_like(value, device=GPU))
        images = process.sample(2, (3, 32, 32), x_T=torch.randn(2, 3, 32, 32), t_stop=t_stop)
    assert images.device == GPU and images.shape == (2, 3, 32, 32)

"""A GPU that cannot be used is told in one message, with what to do, and a run does not go on without it in silence."""

from functools import partial

import pytest
import torch
from helpers import UNIFORM, code_of, exit_code

from mindiffusion.runtime import gpu
from mindiffusion.runtime.errors import UserError
from mindiffusion.runtime.gpu import pick_device, probe, why_unusable
from mindiffusion.runtime.precision import set_backend_flags

GPU = torch.device("cuda", 0)
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver.\nmore"


def raise_(error, *_):
    raise error


def cuda_says(monkeypatch, text: str | None, available: bool = False) -> None:
    """Let torch.cuda behave as on another machine: ``text`` is what its initialisation raises."""

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "init", partial(raise_, RuntimeError(text)) if text else lambda: None)


@pytest.mark.parametrize("text", ["Found no NVIDIA driver on your system.", "No CUDA GPUs are available", OLD_DRIVER])
def test_without_a_gpu_or_without_cuda_auto_is_the_cpu(text, monkeypatch):
    cuda_says(monkeypatch, text)
    if text == OLD_DRIVER:
        monkeypatch.setattr(torch.version, "cuda", None)
    assert why_unusable() == ""
    assert pick_device("auto", 0) == torch.device("cpu")
    with pytest.raises(UserError, match="PyTorch sees no CUDA GPU"):
        pick_device("cuda", 0)


def test_a_lack_of_memory_ends_any_program_with_a_sentence_and_other_errors_with_their_traceback(capsys):
    lack = partial(raise_, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"))
    other = partial(raise_, RuntimeError("a bug"))
    assert code_of(lack) == 2
    said = capsys.readouterr().err
    assert "Tried to allocate 2.00 GiB" in said and "--batch-size" in said
    with pytest.raises(RuntimeError, match="a bug"):
        code_of(other)


def test_fp32_is_fp32_whatever_the_environment_asked_for():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    set_backend_flags("fp32", torch.device("cpu"))
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_driver_that_is_too_old_ends_the_run_with_one_message_and_no_output(device, tmp_path, monkeypatch, capsys):
    cuda_says(monkeypatch, OLD_DRIVER)
    assert exit_code(UNIFORM, tmp_path, "--device", device) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert message.count("error:") == 1 and "driver on your system is too old" in message
    assert "--device cpu" in message and "Traceback" not in message
    assert list(tmp_path.iterdir()) == []
    assert pick_device("cpu", 0) == torch.device("cpu")


@pytest.fixture
def old_gpu(monkeypatch):
    """A GPU that is found, and whose kernels ``fake.kernel`` plays."""
    cuda_says(monkeypatch, None, available=True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA GTX 1080")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90"])
    return lambda kernel: monkeypatch.setattr(gpu, "_first_kernel", kernel)


def test_a_gpu_that_this_pytorch_has_no_kernels_for_is_told_by_name(old_gpu, tmp_path, capsys):
    old_gpu(partial(raise_, RuntimeError("CUDA error: no kernel image is available for execution on the device")))
    assert exit_code(UNIFORM, tmp_path, "--device", "auto") == 2
    message = " ".join(capsys.readouterr().err.split())
    for part in ("NVIDIA GTX 1080 (sm_61) cannot be used", "has kernels for sm_75, sm_90", "whl/cu126", "--device cpu"):
        assert part in message
    assert "Traceback" not in message and list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_busy_or_computes_wrongly_is_refused_with_the_reason(old_gpu):
    old_gpu(partial(raise_, RuntimeError("CUDA error: all CUDA-capable devices are busy\nCompile with ...")))
    with pytest.raises(UserError, match=r"all CUDA-capable devices are busy.*nvidia"):
        probe(GPU)
    old_gpu(lambda device: torch.tensor([71.5]))
    with pytest.raises(UserError, match=r"computes \[71.5\] where 72 is right"):
        probe(GPU)
    old_gpu(lambda device: torch.tensor([72.0]))
    probe(GPU)


def test_the_probe_computes_72_on_a_device_that_works(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert gpu._first_kernel(torch.device("cpu")).tolist() == [72.0]

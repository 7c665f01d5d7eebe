"""python -m benchmarks.count_launches

How many kernels the compiled step of C (n_feat 32, batch 256, bf16) launches on an H100, counted in Inductor's code.
"""

import re
from types import SimpleNamespace
from unittest.mock import Mock, patch

import torch
from torch._dynamo.device_interface import CudaInterface
from torch._functorch.aot_autograd import aot_export_joint_simple
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._guards import TracingContext, tracing
from torch._inductor import compile_fx, decomposition, utils
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves

from mindiffusion.ddpm import DDPM
from mindiffusion.training.step import Losses
from mindiffusion.unet import NaiveUnet

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
H100 = SimpleNamespace(name="H100", major=9, minor=0, multi_processor_count=132, total_memory=80 * 2**30)
CUDA = {"is_available": True, "device_count": 1, "current_device": 0, "get_device_capability": (9, 0)}
CUDA |= {"get_device_properties": H100, "is_bf16_supported": True, "get_rng_state": torch.zeros(16)}
CUDA |= dict.fromkeys(("set_rng_state", "synchronize", "_exchange_device", "_maybe_exchange_device"), 0)
ANSWERS = {question: Mock(return_value=answer) for question, answer in CUDA.items()}
LAUNCH = r"^ +(?:\w+ = )?(triton_\w+\.run|extern_kernels\.\w+|torch\.ops\.aten\.convolution_backward\S*)\("


def on(graph: torch.fx.GraphModule, device: torch.device) -> torch.fx.GraphModule:
    """The same graph, with the tensors that it makes on ``device``."""
    for node in graph.graph.nodes:
        node.kwargs = {name: device if name == "device" else value for name, value in node.kwargs.items()}
    graph.recompile()
    return graph


def forward_and_backward(losses: Losses) -> tuple[torch.fx.GraphModule, list[torch.Tensor]]:
    """A graph of both, and its inputs. PyTorch takes gradients of CUDA tensors only where there is a driver: so the
    traced forward pass is moved to the CPU for its gradient, and the whole is moved back and decomposed. What divides
    it knows the gradient that comes in by its name, ``tangents``."""
    named = dict([*losses.named_parameters(), *losses.named_buffers()])
    images = torch.empty(256, 3, 32, 32).to(memory_format=torch.channels_last)
    on_cpu = [*named.values(), images, torch.ones(256, dtype=torch.int64), images.clone()]
    on_gpu = [torch.empty_like(value, device=GPU) for value in on_cpu]

    def forward(*args: torch.Tensor) -> list[torch.Tensor]:
        with patch.multiple("torch.cuda", is_available=Mock(), is_bf16_supported=Mock()):
            autocast = torch.autocast("cuda", torch.bfloat16)
        with autocast, patch("torch.compiler.is_compiling"):
            state = dict(zip(named, args, strict=False))
            return list(torch.func.functional_call(losses, state, args[len(named) :]).values())

    joint = on(aot_export_joint_simple(on(make_fx(forward)(*on_gpu), CPU), on_cpu, trace_joint=True), GPU)
    table = decomposition.select_decomp_table()
    whole = make_fx(lambda primals, tangents: tree_leaves(joint(primals, tangents)), table)
    return whole(on_gpu, [torch.empty((), device=GPU)]), [*on_gpu, torch.empty((), device=GPU)]


def main() -> None:
    """Trace, generate, count."""
    losses, launches = Losses(DDPM(NaiveUnet(3, 3, 32).to(memory_format=torch.channels_last))), []
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, tracing(TracingContext(mode)):
        joint, inputs = forward_and_backward(losses)
        with (
            patch.multiple("torch.cuda", **ANSWERS),
            patch.multiple(CudaInterface, get_device_properties=lambda *_: H100, get_compute_capability=lambda *_: 90),
            patch.object(CudaInterface.Worker, "get_device_properties", lambda *_: H100),
            patch("torch.utils._triton.triton_hash_with_backend", lambda: ""),
        ):
            for part in min_cut_rematerialization_partition(joint, inputs, compiler="inductor", num_fwd_outputs=2):
                fake = [node.meta["val"] for node in part.graph.nodes if node.op == "placeholder"]
                code = utils.get_code(compile_fx.compile_fx_inner, part, fake, is_backward=bool(launches), graph_id=0)
                launches += re.findall(LAUNCH, code[0], re.MULTILINE)
    print(f"{len(launches)} launches, {sum('triton' in each for each in launches)} of them Triton's kernels")


if __name__ == "__main__":
    main()

"""--cuda-graph, with CUDA's recorder played by the stand-ins of recorders.py: a right one, and wrong ones."""

import pytest
import torch
from recorders import ConstantFloat, Forgets, Imprecise, Refuses, RightRecorder, StaleInputs

from mindiffusion.config import Stage, TrainConfig
from mindiffusion.curriculum_ddpm import CurriculumDDPM
from mindiffusion.runtime.distributed import Ranks
from mindiffusion.runtime.errors import UserError
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.training import acceleration, checked_graph, cuda_graph
from mindiffusion.training.checked_graph import WARM_UP, CheckedGraph
from mindiffusion.training.cuda_graph import CudaRecorder
from mindiffusion.training.ema import Ema
from mindiffusion.training.run import Run
from mindiffusion.training.step import check_graph, forget_gradients, graphed, make_step, mutable_state

CPU = torch.device("cpu")
CONFIG = TrainConfig("cs", (Stage(0, 1, "all", 1),), n_feat=8, global_batch_size=4, precision="fp32", compile=False)
STEPS = WARM_UP + 3  # the first after the warm-up records, the others replay


def make_run():
    torch.manual_seed(0)
    net = SparseNaiveUnet(3, 3, 8, 0.5)
    run = Run.__new__(Run)  # without folders, data and logs, which a step does not touch
    run.config, run.ranks, run.net, run.ema = CONFIG, Ranks(), net, Ema(net, 0.9)
    run.optimizer = acceleration.make_optimizer(net, 1e-2, CPU)
    diffusion = CurriculumDDPM(net)
    return run, make_step(CONFIG, Ranks(), run, diffusion, None, net.accumulate_channel_gradients, None)


def batch(n, size=4):
    generator = torch.Generator().manual_seed(n)
    shape = (size, 3, 32, 32)
    x, eps = (torch.randn(shape, generator=generator) for _ in range(2))
    # The floats are exact in float32, which is how a recording gets them.
    return x, torch.randint(1, 1001, (size,), generator=generator), eps, 0.5 + n / 64, (1 + n) / 1024


def train(make_recorder=None):
    """STEPS steps; returns (run, readings, graph, messages)."""
    run, step = make_run()
    messages, graph = [], None
    if make_recorder:
        recorder = make_recorder(run)

        def on_failure(reason):
            forget_gradients(run.net)
            messages.append(reason)

        graph = CheckedGraph(step, lambda: mutable_state(run), CPU, recorder, on_failure)
        recorder.graph = graph
        step = graph
    readings = [[value.clone() for value in step(*batch(n))] for n in range(STEPS)]
    return run, readings, graph, messages


def assert_same_training(one, other):
    (run, readings, *_), (expected_run, expected, *_) = one, other
    torch.testing.assert_close(readings, expected, rtol=1e-4, atol=1e-6)
    ours, theirs = mutable_state(run), mutable_state(expected_run)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_right_recording_is_believed_and_trains_as_the_step_does():
    found = train(lambda run: RightRecorder())
    _, _, graph, messages = found
    assert messages == [] and not graph.failed
    assert graph.recorder.recordings == 1
    assert graph.recorder.replays == 2 + 3  # two for the check; this step and two more
    assert_same_training(found, train())


WRONG = {
    "stale inputs": lambda run: StaleInputs(),
    "constant weight of the average": lambda run: ConstantFloat(3),
    "constant learning rate": lambda run: ConstantFloat(4),
    "no optimizer step": lambda run: Forgets(run, "weights"),
    "no moments": lambda run: Forgets(run, "first moments"),
    "no step count": lambda run: Forgets(run, "step counts"),
    "no average": lambda run: Forgets(run, "average"),
    "no channel scores": lambda run: Forgets(run, "buffers"),
    "another kernel": lambda run: Imprecise(),
    "refused": Refuses,
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_recording_is_found_out_said_in_one_line_and_leaves_no_trace(kind):
    found = train(WRONG[kind])
    run, _, graph, messages = found
    assert len(messages) == 1 and "\n" not in messages[0]
    assert ("cannot record" if kind == "refused" else "the recorded step is not the step") in messages[0]
    assert graph.failed and graph.replay is None
    assert all(parameter.grad is None for parameter in run.net.parameters())
    assert_same_training(found, train())


def test_a_recording_that_failed_is_not_tried_again_in_the_next_stage():
    _, _, graph, messages = train(Refuses)
    graph.renew()
    for n in range(STEPS):
        graph(*batch(n))
    assert graph.recorder.recordings == 1 and len(messages) == 1


def test_a_new_stage_warms_up_and_records_anew():
    _, _, graph, _ = train(lambda run: RightRecorder())
    graph.renew()
    for n in range(WARM_UP):
        graph(*batch(n))
    assert graph.recorder.recordings == 1
    graph(*batch(7))
    assert graph.recorder.recordings == 2


def test_other_shapes_are_left_to_the_function():
    _, _, graph, _ = train(lambda run: RightRecorder())
    replays = graph.recorder.replays
    graph(*batch(1, size=2))
    assert graph.recorder.replays == replays
    assert graph.inputs[0].shape[0] == 4


# --- what asks for it, and CUDA's own recorder ------------------------------------------------------------------------


def test_the_graph_is_off_unless_it_is_asked_for():
    def step(*_):
        raise AssertionError

    gpu = Ranks(device=torch.device("cuda", 0))
    assert not CONFIG.cuda_graph and not TrainConfig("c", CONFIG.stages, compile=True).cuda_graph
    assert graphed(step, CONFIG, gpu, None) is step


@pytest.mark.parametrize("ranks", [Ranks(), Ranks(world_size=2, device=torch.device("cuda", 0))])
def test_a_graph_where_there_can_be_none_is_refused(ranks):
    config = TrainConfig("c", CONFIG.stages, cuda_graph=True)
    with pytest.raises(UserError, match="--cuda-graph needs one CUDA GPU"):
        check_graph(config, ranks)
    check_graph(CONFIG, ranks)
    check_graph(config, Ranks(device=torch.device("cuda", 0)))


@pytest.fixture
def fake_cuda(monkeypatch):
    """torch.cuda's streams and graphs as plain objects; yields what is current and what graphs were told."""
    now = {"stream": "default", "made": 0, "captured on": [], "fails": ""}

    class Stream:
        def __init__(self, device):
            now["made"] += 1

        def wait_stream(self, other):
            pass

    class Using:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            self.former, now["stream"] = now["stream"], self.stream

        def __exit__(self, *_):
            now["stream"] = self.former

    class Capture(Using):
        def __init__(self, graph, stream):
            super().__init__(stream)
            now["captured on"].append(stream)

        def __exit__(self, *_):
            if now["fails"]:
                raise RuntimeError(now["fails"])  # as PyTorch's does: before it restores the stream
            super().__exit__()

    class Graph:
        def replay(self):
            pass

    class Default:
        def wait_stream(self, other):
            pass

    for name, value in {
        "Stream": Stream,
        "stream": Using,
        "graph": Capture,
        "CUDAGraph": Graph,
        "current_stream": lambda device: Default(),
        "synchronize": lambda device: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return now


def test_one_stream_of_its_own_serves_all_warm_ups_and_recordings(fake_cuda):
    recorder = CudaRecorder(CPU)
    seen = []
    recorder.run(lambda: seen.append(fake_cuda["stream"]))
    recorder.record(lambda: seen.append(fake_cuda["stream"]))
    recorder.record(lambda: None)
    assert seen == [recorder.stream] * 2 and fake_cuda["captured on"] == [recorder.stream] * 2
    assert fake_cuda["made"] == 1 and fake_cuda["stream"] == "default"


def test_a_recording_that_fails_at_its_end_gives_the_stream_back(fake_cuda):
    fake_cuda["fails"] = "capture was invalidated"
    recorder = CudaRecorder(CPU)
    with pytest.raises(RuntimeError, match="invalidated"):
        recorder.record(lambda: None)
    assert fake_cuda["stream"] == "default"


def test_the_recorder_is_the_one_that_the_step_is_given(fake_cuda):
    config = TrainConfig("c", CONFIG.stages, cuda_graph=True)
    graph = graphed(lambda: None, config, Ranks(device=torch.device("cuda", 0)), None)
    assert isinstance(graph, checked_graph.CheckedGraph) and isinstance(graph.recorder, cuda_graph.CudaRecorder)

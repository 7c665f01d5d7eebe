"""Who am I among the processes of this job, and the few things that processes do together."""

import os
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mindiffusion.runtime.errors import UserError, long_names_explained
from mindiffusion.runtime.gpu import pick_device, probe
from mindiffusion.runtime.precision import keep_compiled_code
from mindiffusion.runtime.signals import Stopped, handled_by

# Within a step all ranks are equally fast, so one that is not heard of for this long is lost, and the job must end.
STEP_TIMEOUT = timedelta(minutes=10)
# Waiting for another rank to cache a data set, draw a grid or write a file is not a hang: such waits may last longer.
PATIENCE = timedelta(hours=24)
CPU = torch.device("cpu")
OF_TORCHRUN = ("WORLD_SIZE", "LOCAL_RANK", "RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ranks:
    """This process among ``world_size`` of them. ``device`` is where its tensors live; ``restarted`` says whether
    torchrun has started this job before: after the loss of a worker, or as a machine came or went."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    device: torch.device = CPU
    patient_group: dist.ProcessGroup | None = None
    restarted: bool = False

    @property
    def is_main(self) -> bool:
        """True on the one rank that writes files and prints."""
        return self.rank == 0

    def slice(self, total: int) -> slice:
        """The part of ``total`` items that belongs to this rank. Where they do not divide the first ranks get more."""
        least, more = divmod(total, self.world_size)
        first = self.rank * least + min(self.rank, more)
        return slice(first, first + least + (self.rank < more))

    def barrier(self) -> None:
        """Wait, for up to a day, until every rank is here."""
        if self.world_size > 1:
            dist.barrier(group=self.patient_group)

    def from_main(self, work: Callable[[], Any]) -> Any:
        """Call ``work`` on rank 0 alone and return its result on every rank; a UserError is raised on every rank."""
        outcome = list(_attempt(work)) if self.is_main else [None, None]
        if self.world_size > 1:
            dist.broadcast_object_list(outcome, src=0, group=self.patient_group)
        result, error = outcome
        if error:
            raise error
        return result

    def check_equal(self, mine: dict[str, Any], advice: str) -> None:
        """UserError, on every rank, naming what differs, unless ``mine`` is the same on all ranks: else each would
        train on its own, or some would wait for ever."""
        everyone = self.all_gather(mine)
        for name in dict.fromkeys(name for each in everyone for name in each):
            values = [str(each.get(name, "none")) for each in everyone]
            if len(set(values)) > 1:
                found = ", ".join(f"rank {rank}: {value}" for rank, value in enumerate(values))
                raise UserError(f"the processes differ in {name} ({found}). {advice}")

    def run_on_all(self, work: Callable[[], Any]) -> Any:
        """Call ``work`` on every rank and wait for all. Returns this rank's result; if any rank met a UserError, every
        rank raises one, with each message once and, where it is not everyone's, the first rank that met it."""
        result, error = _attempt(work)
        said = self.all_gather(str(error or ""))
        alike = len(set(said)) == 1
        if lines := [text if alike else f"rank {said.index(text)}: {text}" for text in dict.fromkeys(said) if text]:
            raise UserError("\n".join(lines))
        return result

    def average_(self, tensor: Tensor) -> Tensor:
        """Replace ``tensor`` by its mean over ranks, in place, on every rank."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
            tensor /= self.world_size
        return tensor

    def all_reduce_max(self, flag: int) -> int:
        """The largest ``flag`` of all ranks, on every rank. Goes over the CPU: no wait for the GPU's queue."""
        if self.world_size == 1:
            return flag
        shared = torch.tensor([flag])
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return int(shared)

    def all_gather(self, mine: Any) -> list:
        """Every rank's object (plain types and CPU tensors), in rank order, on every rank."""
        if self.world_size == 1:
            return [mine]
        objects: list = [None] * self.world_size
        dist.all_gather_object(objects, mine, group=self.patient_group)
        return objects


def _attempt(work: Callable[[], Any]) -> tuple[Any, UserError | None]:
    """What ``work`` returns, and the mistake that it met."""
    try:
        with long_names_explained():
            return work(), None
    except UserError as error:
        return None, error


@contextmanager
def process_group(device_name: str = "auto") -> Iterator[Ranks]:
    """Join the job that ``torchrun`` describes in the environment; a plain ``python`` is a job of one process.

    NCCL carries CUDA tensors, gloo CPU tensors. UserError if the environment describes no job, and, on every rank, if
    the device of one rank is absent or does not compute. With several processes, an error that is not every rank's (all
    but UserError and Stopped) prints its traceback and ends this process at once, with exit code 1.
    """
    keep_compiled_code()  # PyTorch chooses a place when the first optimizer is made
    world_size, local_rank = _place_in_job()
    if world_size == 1:
        yield Ranks(device=_ready_device(device_name, local_rank), restarted=_count_attempt() > 1)
        return
    with handled_by(signal.SIG_DFL):  # here processes wait for minutes where no handler of Python runs: let them kill
        store, rank = _fresh_store(), int(os.environ["RANK"])
        backend = "cpu:gloo,cuda:nccl" if device_name != "cpu" and torch.cuda.is_available() else "gloo"
        where = {"store": store, "rank": rank, "world_size": world_size} if store else {}
        dist.init_process_group(backend, timeout=STEP_TIMEOUT, **where)
        patient_group = dist.new_group(backend="gloo", timeout=PATIENCE)
    ranks = Ranks(rank, local_rank, world_size, patient_group=patient_group)
    try:
        restarted = ranks.from_main(lambda: _count_attempt() > 1)
        device = ranks.run_on_all(lambda: _ready_device(device_name, local_rank))
        ranks.check_equal({"device": device.type}, "Give --device cpu, or leave the machines without a usable GPU out.")
        with long_names_explained():
            yield replace(ranks, device=device, restarted=restarted)
    except (UserError, Stopped):
        raise
    except BaseException:
        # To leave the group first could take for ever: the other ranks may wait in NCCL for this one, and NCCL for
        # them. The launcher ends them when this process is gone.
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    finally:
        # A thread of gloo may still wait for the interpreter lock, to drop the tensors of the last exchange. Destroying
        # its group holds that lock and waits for the thread, for ever (seen in some stops): let it go first.
        time.sleep(0.2)
        dist.destroy_process_group()


def _place_in_job() -> tuple[int, int]:
    """WORLD_SIZE and LOCAL_RANK of the environment. UserError unless it is torchrun's, or that of one process."""
    found = {name: os.environ[name] for name in OF_TORCHRUN if name in os.environ}
    counts = [found.get("WORLD_SIZE", "1"), found.get("LOCAL_RANK", "0"), found.get("RANK", "0")]
    numbers = all(text.isdecimal() for text in counts) and int(counts[0]) > 0
    if not numbers or (int(counts[0]) > 1 and len(found) < len(OF_TORCHRUN)):
        shown = ", ".join(f"{name}={text}" for name, text in found.items())
        raise UserError(
            f"the environment describes no job of processes: {shown}. Start several with torchrun --nproc_per_node=N, "
            "or unset WORLD_SIZE, RANK and LOCAL_RANK to start one."
        )
    return int(counts[0]), int(counts[1])


def _ready_device(device_name: str, local_rank: int) -> torch.device:
    """This rank's device, made the current one and tried out. UserError as pick_device's and probe's."""
    device = pick_device(device_name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        probe(device)
    return device


def _agent_store() -> dist.Store | None:
    """torchrun's store, which lives as long as the job; None without torchrun."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(address, port, is_master=False, timeout=STEP_TIMEOUT)


def _count_attempt() -> int:
    """How often this job has been started, this time included. Called by rank 0, of which each attempt has one.
    (torchrun's own count, TORCHELASTIC_RESTART_COUNT, does not rise when a machine joins or leaves.)"""
    store = _agent_store()
    count = store.add("mindiffusion attempts", 1) if store else 1
    return max(count, 1 + int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))


def _fresh_store() -> dist.Store | None:
    """torchrun's store, under a prefix of this attempt alone; None without torchrun, where PyTorch makes its own.

    After a restart torchrun's store still has the addresses of processes that are gone, and PyTorch connects to those
    (https://github.com/pytorch/pytorch/issues/135712). Its restart count differs between machines, so the prefix has to
    be agreed: each process says hello under a name of its own, and rank 0 answers that name.
    """
    store = _agent_store()
    if store is None:
        return None
    rank, name = int(os.environ["RANK"]), uuid.uuid4().hex
    if rank > 0:
        store.set(f"hello/{rank}", name)
        prefix = store.get(f"answer/{name}").decode()
        store.set(f"here/{prefix}/{rank}", "")
        return dist.PrefixStore(prefix, store)
    missing = set(range(1, int(os.environ["WORLD_SIZE"])))
    deadline = time.monotonic() + STEP_TIMEOUT.total_seconds()
    while missing:
        for other in missing:
            if store.check([f"hello/{other}"]):  # perhaps of an earlier attempt: then nobody reads the answer
                store.set(f"answer/{store.get(f'hello/{other}').decode()}", name)
        missing = {other for other in missing if not store.check([f"here/{name}/{other}"])}
        if missing and time.monotonic() > deadline:
            raise RuntimeError(f"ranks {sorted(missing)} did not come within {STEP_TIMEOUT}")
        time.sleep(0.02)
    return dist.PrefixStore(name, store)

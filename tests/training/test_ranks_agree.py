"""Ranks that differ, in what they were told, in what they can or in their weights, say so together."""

import multiprocessing
import os
import sys
from pathlib import Path

import faults
import pytest
import torch
from helpers import UNIFORM, C, checkpoints, launch

from mindiffusion.checkpoints.checkpoint import load_checkpoint
from mindiffusion.runtime import distributed
from mindiffusion.runtime.distributed import Ranks, process_group
from mindiffusion.runtime.errors import UserError
from mindiffusion.sparse_unet import SparseNaiveUnet
from mindiffusion.training.machine import check_ranks_agree
from mindiffusion.unet import NaiveUnet

LONG = Path("n" * 256)  # no file system has such names


@pytest.mark.parametrize(("digests", "named"), [("aab", "rank 2 "), ("abb", "rank 0 "), ("ab", "rank 1 ")])
def test_the_rank_that_differs_is_named(digests, named, monkeypatch):
    monkeypatch.setattr(Ranks, "all_gather", lambda self, mine: list(digests))
    with pytest.raises(UserError, match=named):
        check_ranks_agree(Ranks(world_size=len(digests)), NaiveUnet(3, 3, 8), "at the end of epoch 1")


def test_one_bit_of_a_weight_a_mask_or_a_regrowth_sum_is_a_difference(monkeypatch):
    seen, net = [], SparseNaiveUnet(3, 3, 8, 0.5)
    monkeypatch.setattr(Ranks, "all_gather", lambda self, mine: seen.append(mine) or [mine, mine])
    for value in (net.out.weight.data, net.channel_mask, net.gradient_sum):
        check_ranks_agree(Ranks(world_size=2), net, "now")
        value.view(-1).view(torch.int32)[5] ^= 1
    check_ranks_agree(Ranks(world_size=2), net, "now")
    assert len(set(seen)) == 4


def test_an_epoch_after_which_weights_have_gone_astray_is_not_saved(tmp_path, monkeypatch):
    def check(ranks, net, where):
        if where == "at the end of epoch 2":
            raise UserError("astray")

    monkeypatch.setattr("mindiffusion.training.loop.check_ranks_agree", check)
    with pytest.raises(UserError, match="astray"):
        launch(C, tmp_path)
    assert load_checkpoint(checkpoints(C, tmp_path) / "latest.pt")["next_epoch"] == 1


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ({"seed": 1}, r"differ in seed \(rank 0: 0, rank 1: 1\)"),
        ({"precision": "bf16"}, r"precision \(rank 0: fp32, rank 1: bf16\).*with --precision fp32"),
        ({"data: files": "b"}, r"data: files \(rank 0: none, rank 1: b\)"),
    ],
)
def test_processes_that_were_told_different_things_do_not_train(theirs, named, tmp_path, monkeypatch):
    monkeypatch.setattr(Ranks, "all_gather", lambda self, mine: [mine, mine | theirs])
    with pytest.raises(UserError, match=named):
        launch(UNIFORM, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "variables", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "x"}, {"WORLD_SIZE": "0"}, {"WORLD_SIZE": "1", "LOCAL_RANK": ""}]
)
def test_an_environment_that_is_no_job_is_told_with_torchrun(variables, monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with process_group("cpu") as ranks:
        assert ranks == Ranks()
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(UserError, match=r"describes no job.*torchrun --nproc_per_node"), process_group("cpu"):
        pass


def in_processes(work, tmp_path):
    """The exit codes of two processes in a gloo group that run ``work(rank)``, and what they printed."""
    port = faults.free_port()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_enter, args=(work, rank, port, tmp_path / f"log{rank}")) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes, [(tmp_path / f"log{rank}").read_text() for rank in range(2)]


def _enter(work, rank, port, log):
    sys.stdout = sys.stderr = open(log, "w", buffering=1)  # noqa: SIM115
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    told(lambda: work(rank))


def told(work):
    """Do it, and print what is wrong."""
    try:
        work()
    except UserError as error:
        print(error, flush=True)


def fail_alone(rank):
    def hang():
        print("waits for ever", flush=True)
        os._exit(99)

    distributed.dist.destroy_process_group = hang  # as NCCL's does while another rank waits for this one
    with process_group("cpu") as ranks:
        if rank == 1:
            raise RuntimeError("only here")
        ranks.barrier()


def test_an_error_of_one_rank_is_printed_before_anything_waits_for_the_others(tmp_path):
    codes, logs = in_processes(fail_alone, tmp_path)
    assert codes[1] == 1
    assert "RuntimeError: only here" in logs[1] and "waits for ever" not in logs[1]


def miss_a_file(rank):
    def work():
        if rank == 1:
            raise UserError("a file is missing")
        return "found"

    with process_group("cpu") as ranks:
        told(lambda: ranks.run_on_all(work))
        print(ranks.run_on_all(lambda: rank), flush=True)
        told(lambda: ranks.from_main(LONG.read_bytes))
        told(lambda: ranks.run_on_all(LONG.read_bytes))
        LONG.read_bytes()


def test_a_mistake_of_one_rank_is_told_by_all_and_a_name_too_long_is_one(tmp_path):
    codes, logs = in_processes(miss_a_file, tmp_path)
    assert codes == [0, 0]
    long = f"{LONG}: File name too long. Name a path of shorter parts.\n"
    assert logs == [f"rank 1: a file is missing\n{rank}\n{3 * long}" for rank in range(2)]


def no_gpu_on_rank_1(rank):
    def pick(name, local_rank):
        if local_rank == 1:
            raise UserError("no GPU for me")
        return distributed.CPU

    distributed.pick_device = pick
    with process_group("cpu"):
        print("in", flush=True)


def test_a_device_that_one_rank_lacks_is_told_by_all_and_none_goes_on(tmp_path):
    codes, logs = in_processes(no_gpu_on_rank_1, tmp_path)
    assert codes == [0, 0]
    assert logs == ["rank 1: no GPU for me\n"] * 2

"""The environment of a job, as torchrun and others leave it."""

import pytest

from mindiffusion.runtime.distributed import Ranks, process_group
from mindiffusion.runtime.errors import UserError

NAMES = ("WORLD_SIZE", "LOCAL_RANK", "RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.mark.parametrize(
    "variables", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "x"}, {"WORLD_SIZE": "0"}, {"WORLD_SIZE": "1", "LOCAL_RANK": ""}]
)
def test_an_environment_that_is_no_job_is_told_with_torchrun(variables, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    with process_group("cpu") as ranks:
        assert ranks == Ranks()
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(UserError, match=r"describes no job.*torchrun --nproc_per_node"), process_group("cpu"):
        pass

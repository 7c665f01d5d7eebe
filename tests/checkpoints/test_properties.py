"""Properties of checkpoints and configurations, over generated examples (hypothesis)."""

import functools
import io
import json
from pathlib import Path

import pytest
import torch
from helpers import assert_identical
from hypothesis import given, settings
from hypothesis import strategies as st
from test_checkpoint import content

from mindiffusion.checkpoints import checkpoint
from mindiffusion.checkpoints.checkpoint import FIELDS, BadCheckpoint, load_checkpoint, save_checkpoint
from mindiffusion.config import TrainConfig, parse_config
from mindiffusion.runtime.errors import UserError
from mindiffusion.stages import Stage

few = settings(derandomize=True, deadline=None, max_examples=100)

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
ABSENT = object()
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))).to(
        draw(st.sampled_from(DTYPES))
    )


plain = st.recursive(
    scalars | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("checkpoint") / "a.pt"


@functools.cache
def file_image() -> bytes:
    return bytes(checkpoint._file_image(content()))


@few
@given(part=st.dictionaries(st.text(max_size=8), plain, max_size=4))
def test_whatever_plain_content_is_saved_is_loaded(path, part):
    whole = content() | {"model": part}
    save_checkpoint(path, whole)
    assert_identical(load_checkpoint(path)["model"], part)


@few
@given(name=st.sampled_from(sorted(FIELDS)), value=scalars | tensors() | st.just(ABSENT))
def test_a_field_that_was_changed_or_is_missing_is_noticed(path, name, value):
    altered = torch.load(io.BytesIO(file_image()), weights_only=True)
    if type(altered[name]) is type(value) and not isinstance(value, torch.Tensor) and altered[name] == value:
        return
    altered[name] = value
    if value is ABSENT:
        del altered[name]
    torch.save(altered, path)
    with pytest.raises(BadCheckpoint, match=r"a\.pt"):
        load_checkpoint(path)


def refused(path: Path, data: bytes) -> bool:
    """Whether ``data`` is refused as a checkpoint. If not, the damage must be harmless: in padding, say."""
    path.write_bytes(data)
    try:
        loaded = load_checkpoint(path)
    except BadCheckpoint as error:
        assert "a.pt" in str(error)
        return True
    for name, value in content().items():
        if name == "model":
            torch.testing.assert_close(loaded[name], value, rtol=0, atol=0, equal_nan=True)
        else:
            assert loaded[name] == value
    return False


@settings(few, max_examples=300)
@given(data=st.data())
def test_no_damage_is_accepted(path, data):
    image = bytearray(file_image())
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "zero a block"]))
    position = data.draw(st.integers(0, len(image) - 1))
    if kind == "flip":
        image[position] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del image[position:]
    elif kind == "insert":
        image[position:position] = data.draw(st.binary(min_size=1, max_size=8))
    else:
        image[position : position + 512] = bytes(len(image[position : position + 512]))
    assert refused(path, bytes(image)) or kind != "cut"


STAGES = (Stage("first", 2, t_min=0.5, t_max=1.0), Stage("second", 3, t_min=0.0, t_max=1.0))


@few
@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "seed": st.integers(-3, 2**40),
            "image_size": st.integers(-32, 256),
            "n_feat": st.integers(-8, 128),
            "global_batch_size": st.integers(-1, 1024),
            "micro_batch_size": st.integers(-1, 64),
            "lr": st.floats(),
            "ema_decay": st.floats(),
            "checkpoint_minutes": st.floats(),
            "num_samples": st.integers(-1, 64),
            "sample_steps": st.integers(-1, 2000),
            "constants": st.dictionaries(st.text(max_size=4), st.floats(0, 1) | st.text(max_size=4), max_size=3),
        },
    )
)
def test_a_configuration_is_refused_in_words_or_survives_a_checkpoint(path, options):
    try:
        config = TrainConfig(variant="c", stages=STAGES, **options)
    except UserError as error:
        assert str(error).endswith(".")
        return
    as_dict = config.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    save_checkpoint(path, content() | {"config": as_dict})
    loaded = load_checkpoint(path)["config"]
    assert loaded == as_dict
    assert {name: loaded[name] for name in config.identity()} == config.identity()


@few
@given(
    flag=st.sampled_from(
        ["--seed", "--lr", "--n-feat", "--image-size", "--precision", "--crop", "--checkpoint-minutes"]
    ),
    value=st.text(st.characters(codec="ascii"), max_size=6) | numbers.map(str),
)
def test_any_value_of_a_flag_is_taken_or_refused_with_exit_code_2(flag, value):
    try:
        parse_config("doc", [f"{flag}={value}"], variant="c", stages=STAGES)
    except UserError:
        pass
    except SystemExit as end:
        assert end.code == 2

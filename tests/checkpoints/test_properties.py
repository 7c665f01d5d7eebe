"""Properties of checkpoints and configurations, over generated examples (hypothesis)."""

import functools
import io
from pathlib import Path

import pytest
import torch
from helpers import assert_identical, small_content
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mindiffusion.checkpoints import checkpoint
from mindiffusion.checkpoints.checkpoint import FIELDS, BadCheckpoint, load_checkpoint, save_checkpoint

few = settings(derandomize=True, deadline=None, max_examples=100)

numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
tensors = st.builds(torch.ones, st.lists(st.integers(0, 3), max_size=3), dtype=dtypes)
names = st.text(max_size=5) | st.integers(0, 9)
plain = st.recursive(
    scalars | tensors,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("checkpoint") / "a.pt"


@functools.cache
def file_image() -> bytes:
    return bytes(checkpoint._file_image(small_content()))


@few
@given(part=st.dictionaries(st.text(max_size=8), plain, max_size=4))
def test_whatever_plain_content_is_saved_is_loaded(path, part):
    save_checkpoint(path, small_content(model=part))
    assert_identical(load_checkpoint(path)["model"], part)


@few
@given(name=st.sampled_from(sorted(FIELDS)), value=scalars | tensors | st.just(Ellipsis))
def test_a_field_that_was_changed_or_is_missing_is_noticed(path, name, value):
    altered = torch.load(io.BytesIO(file_image()), weights_only=True)
    assume(type(altered[name]) is not type(value) or altered[name] != value)
    altered[name] = value
    if value is Ellipsis:  # absent
        del altered[name]
    torch.save(altered, path)
    with pytest.raises(BadCheckpoint, match=r"a\.pt"):
        load_checkpoint(path)


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
    path.write_bytes(image)
    try:
        loaded = load_checkpoint(path)
    except BadCheckpoint as error:
        assert "a.pt" in str(error)
    else:  # harmless: in padding, say
        assert kind != "cut"
        assert_identical({name: loaded[name] for name in small_content()}, small_content())

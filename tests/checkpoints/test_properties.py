"""Properties of checkpoints, over generated examples (hypothesis)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import assert_identical, small_content
from hypothesis import assume, given, settings
from hypothesis import strategies as st

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


@pytest.fixture(scope="module")
def file_image(path) -> bytes:
    save_checkpoint(path, small_content())
    return path.read_bytes()


@few
@given(part=st.dictionaries(st.text(max_size=8), plain, max_size=4))
def test_whatever_plain_content_is_saved_is_loaded(path, part):
    save_checkpoint(path, small_content(model=part))
    assert_identical(load_checkpoint(path)["model"], part)


@few
@given(name=st.sampled_from(sorted(FIELDS)), value=scalars | tensors | st.just(Ellipsis))
def test_a_field_of_another_type_or_missing_is_noticed(path, name, value):
    assume(not isinstance(value, FIELDS[name]))
    altered = small_content(**{name: value})
    if value is Ellipsis:  # absent
        del altered[name]
    save_checkpoint(path, altered)
    with pytest.raises(BadCheckpoint, match=r"a\.pt"):
        load_checkpoint(path)


@settings(few, max_examples=300)
@given(data=st.data())
def test_no_damage_is_accepted(path, file_image, data):
    image = bytearray(file_image)
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


def test_what_could_not_be_loaded_is_not_saved(path, file_image):
    path.write_bytes(file_image)
    with pytest.raises(TypeError, match="plain types and tensors only, not numpy"):
        save_checkpoint(path, small_content(training_state={"sums": np.zeros(2)}))
    assert path.read_bytes() == file_image

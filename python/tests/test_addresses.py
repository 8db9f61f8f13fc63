# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Whoever has the address of a tensor reads the right bytes, and no write comes back wrong."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import threading

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import torch_neap as neap

SIDE = 64
BYTES = SIDE * SIDE * 4


def room_for(count):
    gc.collect()  # what earlier tests have left would make room later
    neap.memory.trim()
    return neap.memory.usage().live + count * BYTES


def source():
    return torch.arange(SIDE * SIDE, dtype=torch.float32).reshape(SIDE, SIDE)


def evict_what_can_go():
    """Fill the budget with tensors that cannot be evicted, and let go of them."""
    kept = []
    try:
        while len(kept) < 4096:
            kept.append(torch.empty(SIDE, SIDE))
    except torch.OutOfMemoryError:
        kept.clear()


def same(array, tensor):
    return np.asarray(array).tobytes() == tensor.numpy().tobytes()


def through_buffer(tensor):
    file = io.BytesIO()
    torch.save(tensor, file)
    file.seek(0)
    return torch.load(file)


def copied_storage(tensor):
    storage = torch.UntypedStorage(tensor.nbytes)
    storage.copy_(tensor.untyped_storage())
    return torch.empty(0).set_(storage, 0, (SIDE, SIDE))


def from_storage(tensor):
    return torch.tensor(tensor.untyped_storage(), dtype=torch.uint8).view(torch.float32)


READERS = {
    "numpy": lambda t: t.numpy(),
    "detach.numpy": lambda t: t.detach().numpy(),
    "numpy(force)": lambda t: t.numpy(force=True),
    "asarray": np.asarray,
    "array": np.array,
    "view.numpy": lambda t: t.view(-1).numpy(),
    "from_dlpack": np.from_dlpack,
    "torch.from_dlpack": lambda t: torch.from_dlpack(t).clone(),
    "to_dlpack": lambda t: torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(t)).clone(),
    "tolist": lambda t: np.array(t.tolist(), dtype=np.float32),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
    "torch.save": through_buffer,
    "untyped_storage": from_storage,
    "storage": lambda t: np.array(t.storage().tolist(), dtype=np.float32),
    "data_ptr": lambda t: np.ctypeslib.as_array(
        (np.ctypeslib.ctypes.c_float * (SIDE * SIDE)).from_address(t.data_ptr())
    ).copy(),
    "share_memory_": lambda t: t.share_memory_().clone(),
    "item": lambda t: np.array([[t[i, j].item() for j in range(SIDE)] for i in range(SIDE)]),
    "iterate": lambda t: np.array([row.numpy() for row in t]),
    "repr": lambda t: (repr(t), t)[1],
    "format": lambda t: (f"{t.sum()}", t)[1],
    "index": lambda t: t[torch.arange(SIDE)],
    "byte view": lambda t: t.view(torch.uint8).numpy().view(np.float32),
    "set_": lambda t: torch.empty(0).set_(t).clone(),
    "copy_ of storage": copied_storage,
    "set_ of storage": lambda t: torch.empty(0).set_(t.untyped_storage(), 0, (SIDE, SIDE)).clone(),
    "apply_": lambda t: t.clone().apply_(lambda value: value),
    "map_": lambda t: torch.zeros(SIDE, SIDE).map_(t, lambda _, value: value),
    "pin": neap.pin,
    "stack": lambda t: torch.stack([t])[0],
    "torch.tensor": lambda t: t.detach().clone(),
}


@pytest.mark.parametrize("name", READERS)
def test_an_evicted_tensor_is_read_right(name):
    x = source()
    expected = (x + 1).numpy().tobytes()
    with neap.budget(room_for(10), online=True):
        y = x + 1
        evict_what_can_go()
        assert neap.is_evicted(y)
        got = READERS[name](y)
        values = got.numpy() if isinstance(got, torch.Tensor) else got
        assert np.asarray(values, dtype=np.float32).tobytes() == expected


def test_a_view_of_numpy_stays_right_while_others_are_evicted():
    x = source()
    with neap.budget(room_for(8), online=True):
        y = x + 1
        view = y.numpy()
        evict_what_can_go()
        assert view[0, 1] == 2
        assert not neap.is_evicted(y)


def test_writing_through_numpy_leaves_what_was_made_before():
    x = source()
    with neap.budget(room_for(8), online=True):
        y = x + 1
        z = y * 3
        evict_what_can_go()
        assert neap.is_evicted(z)
        y.numpy()[:] = 0
        evict_what_can_go()
        assert torch.equal(z, (x + 1) * 3)
        assert torch.equal(y * 3, torch.zeros(SIDE, SIDE))


def test_a_view_from_before_the_scope_may_be_written_in_it():
    x = source()
    view = x.numpy()
    with neap.budget(room_for(10), online=True):
        y = x + 1
        view[:] = 7
        z = x + 1
        evict_what_can_go()
        assert torch.equal(y, source() + 1)
        assert torch.equal(z, torch.full((SIDE, SIDE), 8.0))


def test_a_write_that_comes_too_late_is_never_silent():
    x = source()
    view = x.numpy()
    with pytest.raises(neap.HandWritten, match=r"neap::expose"):
        with neap.budget(room_for(8), online=True):
            y = x + 1
            evict_what_can_go()
            assert neap.is_evicted(y)
            view[:] = 7
            y.sum()


def test_expose_makes_that_write_right():
    x = source()
    view = x.numpy()
    with neap.budget(room_for(8), online=True):
        neap.expose(x)
        y = x + 1
        evict_what_can_go()
        view[:] = 7
        assert torch.equal(y, source() + 1)


def test_apply_writes_by_hand_and_leaves_what_was_made_before():
    x = source()
    with neap.budget(room_for(8), online=True):
        y = x + 1
        z = y * 3
        evict_what_can_go()
        y.apply_(lambda _: 0.0)
        assert torch.equal(z, (x + 1) * 3)


def test_an_access_that_neap_does_not_know_raises_and_says_what_to_do():
    x = source()
    with neap.budget(room_for(8), online=True):
        y = x + 1
        evict_what_can_go()
        plain = torch.Tensor.numpy.__wrapped__
        with pytest.raises(RuntimeError, match="neap has evicted this storage"):
            plain(y)


def test_a_storage_from_before_the_scope_may_be_written_in_it():
    x = source()
    storage = x.untyped_storage()
    with neap.budget(room_for(8), online=True):
        y = x + 1
        storage.fill_(0)
        assert torch.equal(x * 2, torch.zeros(SIDE, SIDE))
        evict_what_can_go()
        assert torch.equal(y, source() + 1)


def test_a_dlpack_alias_from_before_the_scope_may_be_written_in_it():
    x = source()
    alias = torch.from_dlpack(x.detach())
    with neap.budget(room_for(8), online=True):
        y = x + 1
        alias.fill_(7)
        z = x + 1
        evict_what_can_go()
        assert torch.equal(y, source() + 1)
        assert torch.equal(z, torch.full((SIDE, SIDE), 8.0))


def test_the_address_of_a_parameter_alone_leaves_later_scopes_as_they_are():
    weight = torch.nn.Parameter(source())
    weight.data_ptr()
    weight.untyped_storage()
    with neap.budget(room_for(8), online=True):
        weight.data_ptr()
        y = weight + 1
        evict_what_can_go()
        assert neap.is_evicted(y)
        assert torch.equal(y, weight + 1)


def test_an_alias_of_a_tensor_that_has_died_is_known_in_the_scope():
    weight = torch.nn.Parameter(source())
    view = weight.data.numpy()
    with pytest.raises(neap.HandWritten):
        with neap.budget(room_for(8), online=True):
            y = weight + 1
            evict_what_can_go()
            assert neap.is_evicted(y)
            view[:] = 7
            y.sum()


def test_an_alias_from_inside_a_checkpoint_without_a_scope_stays_right():
    views = []

    def function(x):
        inner = x.sin()
        views.append(inner.numpy())
        return inner.exp()

    x = source()
    neap.checkpoint(function, x)
    others = [torch.full((SIDE, SIDE), 7.0) for _ in range(8)]
    assert same(views[0], x.sin())
    del others


def test_an_address_in_another_thread_is_refused_for_what_may_be_evicted():
    refused, views = [], []

    def take():
        try:
            y.numpy()
        except neap.ScopeConflict as error:
            refused.append(str(error))
        views.append(x.numpy())

    x = source()
    with neap.budget(room_for(8), online=True):
        y = x + 1
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    assert "another thread" in refused[0]
    assert len(views) == 1


def test_fake_tensors_of_symbolic_sizes_are_left_alone():
    fakes = FakeTensorMode(shape_env=ShapeEnv())
    fake = fakes.from_tensor(torch.rand(30, 40))
    assert not isinstance(fake.shape[0], int)
    with neap.budget("1GiB"):
        for call in (neap.pin, neap.unpin, neap.expose, neap.is_evicted):
            call(fake)


def test_tensors_without_storages_are_left_alone():
    with neap.budget("1GiB"):
        sparse = torch.eye(3).to_sparse()
        assert not neap.is_evicted(sparse)
        assert not neap.is_evicted(torch.empty(3, device="meta"))

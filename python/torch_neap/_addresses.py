# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Tells neap when the address of a tensor goes out.

`Tensor.numpy()` and its kin give away an address, through which the program reads and writes by
hand. No operator shows that. So these methods are replaced by ones that first bring an evicted
tensor back, and say that the program may write it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch

from torch_neap import _library

# What these return is an alias, and holds the storage: who has it writes through it, as long as he
# likes.
_ALIASES = ("numpy", "__array__", "__dlpack__")
# These give an address for the time being, or write while they run, or let two tensors share a
# storage. untyped_storage() gives none: the methods of torch.UntypedStorage do.
_ADDRESSES = (
    "data_ptr",
    "const_data_ptr",
    "storage",
    "_typed_storage",
    "share_memory_",
    "apply_",
    "map_",
    "map2_",
    "set_",
)
# What this returns is read later, when it is written to a file or a pipe.
_READ_LATER = ("__reduce_ex__",)
# These read while they run.
_READING = ("tolist", "__deepcopy__")

# Of torch.UntypedStorage.
_WRITING_STORAGE = (
    "__setitem__",
    "fill_",
    "copy_",
    "data_ptr",
    "resize_",
    "_byteswap",
    "_resize_with_addr_",
    "_set_from_file",
    "_swap_data_ptr_",
)
_READING_STORAGE = ("__getitem__", "__iter__", "tolist", "clone", "_write_file")
_SHARING_STORAGE = ("_share_fd_cpu_", "_share_filename_cpu_", "share_memory_")

# Storages with an alias, by the id() of the object that stands for each as long as it lives.
_aliased: dict[int, weakref.ref[torch.UntypedStorage]] = {}


def watch_aliases() -> None:
    """Watch what has an alias from before the scope."""
    for reference in list(_aliased.values()):
        if (storage := reference()) is not None:
            _library.check(_library.watch_storage(storage._cdata))


def matter() -> bool:
    """Whether some thread has a scope or a checkpoint. Only then is anything evicted."""
    return bool(_library.has_owner())


def storage_of(tensor: torch.Tensor) -> torch.UntypedStorage:
    """The storage of a tensor, also of a subclass that overrides the method."""
    return _untyped_storage(tensor)


def _remember(tensor: torch.Tensor) -> None:
    try:
        storage = _untyped_storage(tensor)
    except (NotImplementedError, RuntimeError):
        return  # a tensor without a storage
    key = id(storage)
    _aliased.setdefault(key, weakref.ref(storage, lambda _: _aliased.pop(key, None)))


_untyped_storage = torch.Tensor.untyped_storage


def _watch(some: tuple[Any, ...]) -> None:
    if matter():
        for one in some:
            if isinstance(one, torch.Tensor):
                _library.check(_library.watch(one._cdata))
            elif isinstance(one, torch.UntypedStorage):
                _library.check(_library.watch_storage(one._cdata))


Method = Callable[..., Any]


def _alias(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        _watch((self,))
        result = method(self, *args, **kwargs)
        _remember(self)
        return result

    return replaced


def _address(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        _watch((*args, *kwargs.values()))
        return method(*args, **kwargs)

    return replaced


def _read_later(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if matter():
            _library.check(_library.pin(self._cdata))
        return method(self, *args, **kwargs)

    return replaced


def _pinned_by(pin: Method, unpin: Method) -> Callable[[Method], Method]:
    def reading(method: Method) -> Method:
        @functools.wraps(method)
        def replaced(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not matter():
                return method(self, *args, **kwargs)
            _library.check(pin(self._cdata))
            try:
                return method(self, *args, **kwargs)
            finally:
                _library.check(unpin(self._cdata))

        return replaced

    return reading


_reading = _pinned_by(_library.pin, _library.unpin)
_reading_storage = _pinned_by(_library.pin_storage, _library.unpin_storage)


def _replace(owner: type, names: tuple[str, ...], by: Callable[[Method], Method]) -> None:
    for name in names:
        if hasattr(owner, name):
            replaced: Any = by(getattr(owner, name))
            replaced._of_neap = True
            setattr(owner, name, replaced)


def install() -> None:
    """Replace the methods. A second call does nothing."""
    if hasattr(torch.Tensor.numpy, "_of_neap"):
        return
    _replace(torch.Tensor, _ALIASES, _alias)
    _replace(torch.Tensor, _ADDRESSES, _address)
    _replace(torch.Tensor, _READ_LATER, _read_later)
    _replace(torch.Tensor, _READING, _reading)
    _replace(torch.UntypedStorage, _WRITING_STORAGE + _SHARING_STORAGE, _address)
    _replace(torch.UntypedStorage, _READING_STORAGE, _reading_storage)
    to_dlpack = _alias(torch._C._to_dlpack)
    for module in (torch._C, torch, torch.utils.dlpack):
        name = "_to_dlpack" if module is torch._C else "to_dlpack"
        setattr(module, name, to_dlpack)

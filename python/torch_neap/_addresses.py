# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Tells neap when the address of a tensor goes out.

`Tensor.numpy()` and its kin give away an address, through which the program reads and writes by
hand. No operator shows that. So these methods are replaced by ones that first bring an evicted
tensor back, and say that the program may write it.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch

from torch_neap import _library

# What these return is an alias: who has it writes through it, as long as he likes. numpy's array
# holds the tensor; a capsule of DLPack holds the storage only.
_ALIASES = ("numpy", "__array__")
_ALIASES_OF_STORAGE = ("__dlpack__",)
# These give an address for the time being, or write while they run, or let two tensors share a
# storage.
_ADDRESSES = (
    "data_ptr",
    "const_data_ptr",
    "untyped_storage",
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

# Of torch.UntypedStorage, which a program may have had since before the scope.
_WRITING_STORAGE = ("__setitem__", "fill_", "copy_", "data_ptr", "resize_")
_READING_STORAGE = ("__getitem__", "__iter__", "tolist", "clone", "_write_file")
_SHARING_STORAGE = ("_share_fd_cpu_", "_share_filename_cpu_", "share_memory_")

_open_scopes = 0
_lock = threading.Lock()
# Aliases that live: weak references to tensors and to storages, by their id().
_tensors: dict[int, weakref.ref[torch.Tensor]] = {}
_storages: dict[int, weakref.ref[torch.UntypedStorage]] = {}


def scope_opened() -> None:
    """Watch what has an alias from before the scope."""
    global _open_scopes  # noqa: PLW0603
    _open_scopes += 1
    with _lock:
        tensors, storages = list(_tensors.values()), list(_storages.values())
    for reference in tensors:
        if (tensor := reference()) is not None:
            _library.check(_library.watch(tensor._cdata))
    for reference_to_storage in storages:
        if (storage := reference_to_storage()) is not None:
            _library.check(_library.watch_storage(storage._cdata))


def scope_closed() -> None:
    """Say that a scope has closed."""
    global _open_scopes  # noqa: PLW0603
    _open_scopes -= 1


def in_a_scope() -> bool:
    """Whether a scope is open."""
    return _open_scopes > 0


def _remember(references: dict[int, weakref.ref[Any]], one: Any) -> None:
    key = id(one)
    with _lock:
        if key not in references:
            references[key] = weakref.ref(one, lambda _: references.pop(key, None))


_untyped_storage = torch.Tensor.untyped_storage


def _watch(tensors: tuple[Any, ...]) -> None:
    if _open_scopes:
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                _library.check(_library.watch(tensor._cdata))


Method = Callable[..., Any]


def _alias(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        _watch((self,))
        _remember(_tensors, self)
        return method(self, *args, **kwargs)

    return replaced


def _alias_of_storage(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        _watch((self,))
        result = method(self, *args, **kwargs)
        _remember(_storages, _untyped_storage(self))
        return result

    return replaced


def _address(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        _watch(args)
        return method(*args, **kwargs)

    return replaced


def _read_later(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if _open_scopes:
            _library.check(_library.pin(self._cdata))
        return method(self, *args, **kwargs)

    return replaced


def _reading(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not _open_scopes:
            return method(self, *args, **kwargs)
        _library.check(_library.pin(self._cdata))
        try:
            return method(self, *args, **kwargs)
        finally:
            _library.check(_library.unpin(self._cdata))

    return replaced


def _writing_storage(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.UntypedStorage, *args: Any, **kwargs: Any) -> Any:
        if _open_scopes:
            _library.check(_library.watch_storage(self._cdata))
        return method(self, *args, **kwargs)

    return replaced


def _reading_storage(method: Method) -> Method:
    @functools.wraps(method)
    def replaced(self: torch.UntypedStorage, *args: Any, **kwargs: Any) -> Any:
        if _open_scopes:
            _library.check(_library.pin_storage(self._cdata))
        return method(self, *args, **kwargs)

    return replaced


def _replace(owner: type, names: tuple[str, ...], by: Callable[[Method], Method]) -> None:
    for name in names:
        if hasattr(owner, name):
            setattr(owner, name, by(getattr(owner, name)))


def install() -> None:
    """Replace the methods. A second call does nothing."""
    if hasattr(torch.Tensor.numpy, "__wrapped__"):
        return
    _replace(torch.Tensor, _ALIASES, _alias)
    _replace(torch.Tensor, _ALIASES_OF_STORAGE, _alias_of_storage)
    _replace(torch.Tensor, _ADDRESSES, _address)
    _replace(torch.Tensor, _READ_LATER, _read_later)
    _replace(torch.Tensor, _READING, _reading)
    _replace(torch.UntypedStorage, _WRITING_STORAGE + _SHARING_STORAGE, _writing_storage)
    _replace(torch.UntypedStorage, _READING_STORAGE, _reading_storage)
    to_dlpack = _alias_of_storage(torch._C._to_dlpack)
    for module in (torch._C, torch, torch.utils.dlpack):
        name = "_to_dlpack" if module is torch._C else "to_dlpack"
        setattr(module, name, to_dlpack)

# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""`torch.utils.checkpoint`, by neap: the function runs once, and its operators run again."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.utils.checkpoint as torch_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from torch_neap import _addresses, _library

Result = TypeVar("Result")

_MUST_SAVE, _PREFER_SAVE, _PREFER_RECOMPUTE, _MUST_RECOMPUTE = range(4)
_POLICIES = {
    torch_checkpoint.CheckpointPolicy.MUST_SAVE: _MUST_SAVE,
    torch_checkpoint.CheckpointPolicy.PREFER_SAVE: _PREFER_SAVE,
    torch_checkpoint.CheckpointPolicy.PREFER_RECOMPUTE: _PREFER_RECOMPUTE,
    torch_checkpoint.CheckpointPolicy.MUST_RECOMPUTE: _MUST_RECOMPUTE,
}


def _storage_number(value: Any) -> int:
    return _addresses.storage_of(value)._cdata if isinstance(value, torch.Tensor) else 0


class _Policy(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Asks a selective checkpoint's policy about each operator, and tells neap the answers."""

    def __init__(self, policy: Callable[..., Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._policy = policy
        self._context = torch_checkpoint.SelectiveCheckpointContext(is_recompute=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in torch_checkpoint.SAC_IGNORED_OPS:
            return func(*args, **kwargs)
        answer = self._policy(self._context, func, *args, **kwargs)
        results = func(*args, **kwargs)
        if isinstance(answer, bool):
            answer = _MUST_SAVE if answer else _PREFER_RECOMPUTE
        else:
            answer = _POLICIES.get(answer, _PREFER_RECOMPUTE)
        # A view is in the storage of an argument, which has its answer.
        given = {_storage_number(one) for one in tree_leaves((args, kwargs))}
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor) and _storage_number(tensor) not in given:
                _library.check(_library.set_checkpoint_policy(tensor._cdata, answer))
        return results


def _mode_of(context_fn: Callable[[], Any]) -> contextlib.AbstractContextManager[Any]:
    """The mode in which the function runs: the forward context of `context_fn`."""
    if context_fn is torch_checkpoint.noop_context_fn:
        return contextlib.nullcontext()
    forward, _ = context_fn()
    policy = getattr(forward, "policy_fn", None)
    if policy is not None and type(forward).__module__ == torch_checkpoint.__name__:
        return _Policy(policy)
    return forward  # type: ignore[no-any-return]


@functools.cache
def _say_once(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def checkpoint(
    function: Callable[..., Result],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Any] = torch_checkpoint.noop_context_fn,
    determinism_check: str | None = None,
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Result:
    """Evict what `function` makes, but for its results, and make it again where it is needed.

    The signature is that of `torch.utils.checkpoint.checkpoint`. The function itself runs once, so
    hooks, prints and random numbers in it happen once.

    Parameters
    ----------
    function
        What is called, with `args` and `kwargs`.
    context_fn
        For selective checkpoints: what its policy saves stays in memory. Of any other pair of
        contexts, the forward one is entered.
    use_reentrant, determinism_check, debug, early_stop
        Mean nothing here, and are accepted. `preserve_rng_state` too: random numbers are always
        those of the first run.

    Returns
    -------
    Result
        What `function` returns.

    Raises
    ------
    ScopeConflict
        When another thread has a scope or a checkpoint.
    """
    kwargs.pop("preserve_rng_state", None)
    if debug:
        _say_once("neap.checkpoint: debug=True shows nothing here, since no function runs twice")
    region = ctypes.c_void_p()
    alone = not _addresses.matter()
    _library.check(_library.region_open(ctypes.byref(region)))
    try:
        if alone:
            _addresses.watch_aliases()
        with _mode_of(context_fn):
            results = function(*args, **kwargs)
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                _library.region_keep(region, tensor._cdata)
    except BaseException:
        _library.region_abandon(region)
        raise
    _library.check(_library.region_close(region))
    return results


def checkpoint_sequential(
    functions: torch.nn.Sequential | Sequence[Callable[[Any], Any]],
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Run functions one after the other, in segments that are checkpointed.

    The signature is that of `torch.utils.checkpoint.checkpoint_sequential`. The last segment is not
    checkpointed there, so it is not here.
    """
    kwargs.pop("preserve_rng_state", None)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    layers: list[Any] = list(
        functions.children() if isinstance(functions, torch.nn.Sequential) else functions
    )
    size = len(layers) // segments

    def run(some: list[Callable[[Any], Any]], value: Any) -> Any:
        for layer in some:
            value = layer(value)
        return value

    for index in range(segments - 1):
        segment = layers[index * size : (index + 1) * size]
        input = checkpoint(run, segment, input)
    return run(layers[(segments - 1) * size :], input)


@contextlib.contextmanager
def patch_checkpoint() -> Iterator[None]:
    """Let programs that call `torch.utils.checkpoint` get neap's functions.

    Inside the block, each name in a loaded module that stands for one of PyTorch's functions stands
    for neap's. So it works for modules that have imported the function, too. A function that was
    bound before the block, as by ``gradient_checkpointing_enable()``, stays PyTorch's.
    """
    replaced: list[tuple[Any, str, Any]] = []
    pairs = (
        (torch_checkpoint.checkpoint, checkpoint),
        (torch_checkpoint.checkpoint_sequential, checkpoint_sequential),
    )
    for name, module in list(sys.modules.items()):
        if module is None or name.startswith("torch_neap"):
            continue
        for attribute, value in list(vars(module).items()):
            for theirs, ours in pairs:
                if value is theirs:
                    replaced.append((module, attribute, theirs))
                    setattr(module, attribute, ours)
    try:
        yield
    finally:
        for module, attribute, theirs in replaced:
            setattr(module, attribute, theirs)

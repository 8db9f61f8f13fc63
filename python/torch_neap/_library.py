# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
"""Loads the library for the torch at hand, and declares its functions.

The functions are those of `src/bindings.cpp`. `ctypes` lets go of the interpreter's lock while one
runs, so other threads go on while neap evicts or recomputes.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import NoReturn

import torch

from torch_neap import _errors

_FOLDER = Path(__file__).parent


def _series(version: str) -> str:
    return ".".join(version.split("+", maxsplit=1)[0].split(".")[:2])


def _load() -> ctypes.CDLL:
    series = _series(torch.__version__)
    path = _FOLDER / f"neap-torch-{series}.so"
    if not path.exists():
        known = sorted(p.stem.removeprefix("neap-torch-") for p in _FOLDER.glob("neap-torch-*.so"))
        raise ImportError(
            f"this torch_neap has no library for torch {torch.__version__}; it has those for torch "
            f"{', '.join(known) or 'none'}. Install one of these, or build torch_neap for the torch"
            " at hand: pip install --no-cache-dir --force-reinstall --no-deps ./python in a clone"
        )
    return ctypes.CDLL(str(path))


_library = _load()


def _declare(
    name: str, arguments: list[type[ctypes._SimpleCData[object]] | type], result: type | None
) -> ctypes._NamedFuncPointer:
    function = getattr(_library, name)
    function.argtypes = arguments
    function.restype = result
    return function  # type: ignore[no-any-return]


_address = ctypes.c_void_p
_text = ctypes.c_char_p
_status = ctypes.c_int
_bytes = ctypes.c_int64
_figures = ctypes.POINTER(ctypes.c_int64)

error_text = _declare("neap_error_text", [], _text)
error_class = _declare("neap_error_class", [], ctypes.c_int)
error_figures = _declare("neap_error_figures", [_figures], None)
error_note_refusal = _declare("neap_error_note_refusal", [_text], ctypes.c_int)
error_clear = _declare("neap_error_clear", [], None)

install = _declare("neap_install", [], _status)
interrupt = _declare("neap_interrupt", [], None)
declare_replayable = _declare("neap_declare_replayable", [_text], _status)
finish_planning = _declare("neap_finish_planning", [], _status)
version = _declare("neap_version", [], _text)

parse_bytes = _declare("neap_parse_bytes", [_text, _figures], _status)
bytes_text = _declare("neap_bytes_text", [_bytes], _text)
memory_usage = _declare("neap_memory_usage", [_figures], None)
memory_reset_peak = _declare("neap_memory_reset_peak", [], None)
memory_trim = _declare("neap_memory_trim", [], _bytes)
memory_left = _declare("neap_memory_left", [], _bytes)

scope_open = _declare(
    "neap_scope_open",
    [
        _bytes,
        ctypes.c_int,
        _text,
        _text,
        _text,
        _bytes,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(_address),
    ],
    _status,
)
scope_end = _declare("neap_scope_end", [_address], _status)
scope_abandon = _declare("neap_scope_abandon", [_address], None)
scope_is_open = _declare("neap_scope_is_open", [_address], ctypes.c_int)
scope_free = _declare("neap_scope_free", [_address], None)
scope_count_of_counts = _declare("neap_scope_count_of_counts", [], ctypes.c_int)
scope_stats = _declare("neap_scope_stats", [_address, _figures], _status)
scope_plan_note = _declare("neap_scope_plan_note", [_address], _text)
scope_rule_note = _declare("neap_scope_rule_note", [_address], _text)

region_open = _declare("neap_region_open", [ctypes.POINTER(_address)], _status)
region_keep = _declare("neap_region_keep", [_address, _address], None)
region_close = _declare("neap_region_close", [_address], _status)
region_abandon = _declare("neap_region_abandon", [_address], None)
set_checkpoint_policy = _declare("neap_set_checkpoint_policy", [_address, ctypes.c_int], _status)

pin = _declare("neap_pin", [_address], _status)
unpin = _declare("neap_unpin", [_address], _status)
expose = _declare("neap_expose", [_address], _status)
watch = _declare("neap_watch", [_address], _status)
watch_storage = _declare("neap_watch_storage", [_address], _status)
pin_storage = _declare("neap_pin_storage", [_address], _status)
unpin_storage = _declare("neap_unpin_storage", [_address], _status)
has_owner = _declare("neap_has_owner", [], ctypes.c_int)
is_evicted = _declare("neap_is_evicted", [_address], ctypes.c_int)

STEP = ctypes.CFUNCTYPE(ctypes.c_int)
trace_step = _declare("neap_trace_step", [STEP, ctypes.c_int64, ctypes.POINTER(_address)], _status)
trace_read = _declare("neap_trace_read", [_text, ctypes.POINTER(_address)], _status)
trace_write = _declare("neap_trace_write", [_address, _text], _status)
trace_free = _declare("neap_trace_free", [_address], None)
trace_figures = _declare("neap_trace_figures", [_address, _figures], _status)
trace_budget_of_share = _declare(
    "neap_trace_budget_of_share", [_address, ctypes.c_double, _figures], _status
)
plan = _declare("neap_plan", [_address, _bytes, ctypes.POINTER(_address)], _status)
plan_write = _declare("neap_plan_write", [_address, _text], _status)
plan_free = _declare("neap_plan_free", [_address], None)
plan_figures = _declare("neap_plan_figures", [_address, _figures], None)
frontier = _declare("neap_frontier", [_address, ctypes.c_int64, _figures, _figures], _status)

saved_report = _declare("neap_saved_report", [_address, ctypes.POINTER(_text)], _status)


def last_error() -> _errors.Error | None:
    """The error that neap raised last in this thread."""
    number = error_class()
    if number == 0:
        return None
    figures = (ctypes.c_int64 * 4)()
    error_figures(figures)
    text = error_text()
    return _errors.make(number, text.decode(), list(figures))


def check(status: int) -> None:
    """Raise the error that a function of the library has reported."""
    if status != 0:
        _raise_last()


def _raise_last() -> NoReturn:
    error = last_error()
    assert error is not None
    error_clear()
    try:
        raise error
    finally:
        del error  # its traceback has this frame, and would keep the tensors of the step

"""Signals that end a command: Ctrl-C, those of ``kill`` and service managers, and that of a lost terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))  # Windows has no SIGHUP
ONE_WISH = 1.0
"""Seconds in which further signals mean the first, as of a key that is held: what is cleaned up meanwhile is not disturbed."""
_first: tuple[int, float] | None = None
"""The signal that came first, and when."""


def came() -> int:
    """The exit status of the signal that came, 0 where none did."""
    return 128 + _first[0] if _first else 0


def ended_by_signals(work: Callable[[], int]) -> int:
    """Runs ``work``, which signals end by an exception, and returns its exit status, or that of the signal.

    They do nothing any more when it is over, or they would interrupt Python's own end; but a further one ends a process at once
    that does not come to its end after the first. Signals that are ignored, as under nohup, stay so.
    """
    watched = [number for number in NUMBERS if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    try:
        try:
            for number in watched:
                signal.signal(number, _end)
            return work()
        finally:
            for number in watched:
                signal.signal(number, signal.SIG_DFL if came() else signal.SIG_IGN)
    except BaseException:
        if not came():
            raise
        return came()


def _end(number: int, _: FrameType | None) -> None:
    global _first
    if _first is None:
        _first = number, time.monotonic()
    elif time.monotonic() - _first[1] < ONE_WISH:
        return
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals wait until the block is over: what takes several steps is done whole. In another thread than the main one no signal
    arrives anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN and handler is not None:
                signal.signal(number, lambda number, _: waiting.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting:
            signal.raise_signal(number)


@contextlib.contextmanager
def kept_from_children() -> Iterator[None]:
    """Ctrl-C, which a terminal sends to all, does not reach the processes that the block starts: they are their parent's."""
    if not hasattr(signal, "pthread_sigmask"):  # as on Windows, where they may take it until they ignore it
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which lets the signal in again when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

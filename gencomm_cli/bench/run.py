"""Runs a sweep: what is done stays, what failed is tried again, and every row is on the disk before the next is waited for."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from gencomm_cli import console
from gencomm_cli.bench import cluster
from gencomm_cli.bench.photographs import find, gather
from gencomm_cli.bench.plan import Job, Sweep, jobs, pending, shard
from gencomm_cli.bench.rows import Row
from gencomm_cli.bench.store import opened
from gencomm_cli.bench.worker import Worker, Workplace
from gencomm_cli.errors import GencommError
from gencomm_cli.interrupts import kept_from_children
from gencomm_cli.metrics.report import WITH_WEIGHTS

SECONDS_BETWEEN_LINES = 20.0


def run(
    sweep: Sweep,
    images: Sequence[Path],
    place: Workplace,
    *,
    prepare: str = "none",
    part: tuple[int, int] = (1, 1),
    processes: int = 1,
    dask: str | None = None,
) -> list[Row]:
    """Makes the rows of a sweep that are not there yet, and returns all of them in the sweep's order.

    Args:
        images: files or folders. prepare: as :func:`~gencomm_cli.photographs.prepare` has it. part: the shard, (i, N).
        dask: the cluster that makes them, as :func:`~gencomm_cli.bench.cluster.made` has it, instead of ``processes`` of our own.

    Raises:
        InputError: the sweep asks for what is not there, or another process writes to the folder.
    """
    found = find(images)
    sweep.schemes()  # what is not there is said before the folder is made
    with opened(place.folder) as store:
        if sweep.draws is None and {row.cell.draws for row in store.rows.values()} == {"shared"}:
            sweep = replace(sweep, draws="shared")  # goes on where a version that had nothing else stopped
        wanted = shard(jobs(sweep, gather(found, prepare, place.folder)), part)
        cells = [cell for job in wanted for cell in job.cells]
        ids = {cell.id for cell in cells}

        def is_done(row: Row) -> bool:
            return row.cell.id not in ids or row.status == "infeasible" or set(place.metrics) <= set(row.metrics)

        store.keep(lambda row: row.status != "error" and is_done(row))
        left = pending(wanted, set(store.rows))
        if place.weights is None and (without := [name for name in place.metrics if name in WITH_WEIGHTS]):
            console.say(
                f"metrics: {', '.join(without)} will be null, as no weights are here; `gencomm models get` fetches them once"
            )
        source = cluster.made(left, place, dask) if dask and left else _made(left, place, processes)
        with _progress(len(cells), sum(len(job.cells) for job in left)) as advance, contextlib.closing(source) as made:
            for rows in made:
                store.add(rows)
                advance(rows)
        return [store.rows[cell.id] for cell in cells]


def _made(left: Sequence[Job], place: Workplace, processes: int) -> Generator[list[Row], None, None]:
    """The rows of each job, as they come."""
    if processes == 1 or len(left) < 2:
        worker = Worker(place)
        yield from map(worker.rows, left)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    context, others = multiprocessing.get_context("spawn"), multiprocessing.active_children()
    pool = ProcessPoolExecutor(min(processes, len(left)), context, _start, (place, threads))
    try:
        with kept_from_children():
            futures = [pool.submit(_work, job) for job in left]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise GencommError(
            "--jobs: a process died, perhaps for want of memory; its rows so far are kept: run the same command with fewer --jobs"
        ) from None
    except BaseException:  # nobody waits for what they are at
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_worker: Worker


def _start(place: Workplace, threads: int) -> None:
    """Makes a spawned process ready: its worker, its threads, and an end with its parent, even a killed one."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    import torch

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    _worker = Worker(place)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # from here on it has files to remove


def _work(job: Job) -> list[Row]:
    return _worker.rows(job)


@contextlib.contextmanager
def _progress(total: int, left: int) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Rows done, rows left and time left on stderr: a bar on a terminal, else a line now and then."""
    done, failed, started = total - left, 0, time.monotonic()
    with console.progress("rows") as bar:
        if not bar:
            console.say(f"bench: {done} rows done, {left} left")
        spoken = started

        def advance(rows: Sequence[Row]) -> None:
            nonlocal done, failed, spoken
            done += len(rows)
            failed += sum(row.status == "error" for row in rows)
            now = time.monotonic()
            if bar:
                bar(done, total, f"{done} of {total}" + (f", {failed} failed" if failed else ""))
            elif now - spoken > SECONDS_BETWEEN_LINES:
                spoken = now
                seconds = (now - started) / (done - total + left) * (total - done)
                console.say(f"bench: {done} rows done, {total - done} left, {failed} failed, {_clock(seconds)} to go")

        yield advance


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Rows by status, all four."""
    found = Counter(row.status for row in rows)
    return {status: found[status] for status in ("ok", "outage", "infeasible", "error")}  # type: ignore[index]

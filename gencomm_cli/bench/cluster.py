"""A sweep over a Dask cluster: each job is a task, its image travels with it, rows and received images travel back.

Workers share no files with the bench folder. What each must have alike is this version of gencomm, the presets and image codecs
(their hashes are compared), and the folder of metric weights. Dask's connections carry pickles, so that whoever speaks to the
scheduler can run code on all machines: all must be trusted, or kept out by TLS, which Dask's own configuration sets up.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import threading
import uuid
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import gencomm_cli
from gencomm_cli import console, pipeline
from gencomm_cli.bench.commandline import command
from gencomm_cli.bench.plan import Job
from gencomm_cli.bench.rows import Row
from gencomm_cli.bench.store import IMAGES, ORIGINALS, original
from gencomm_cli.bench.worker import Worker, Workplace
from gencomm_cli.errors import GencommError, InputError, imported
from gencomm_cli.images import read_image
from gencomm_cli.interrupts import kept_from_children
from gencomm_cli.outputs import write_files
from gencomm_cli.photographs import pixel_hash

if TYPE_CHECKING:
    from distributed import Client, Future

LEAST_AHEAD = 16
"""Tasks that are out at least; else two for each thread of the cluster. Not all at once: the scheduler holds their images."""


def made(left: Sequence[Job], place: Workplace, address: str) -> Generator[list[Row], None, None]:
    """The rows of each job, as they come; received images are in the bench folder before their rows are returned.

    A job whose worker is lost goes to another one; one that ends several workers becomes a row with that error. Closing the
    iterator cancels what is queued.

    Args:
        address: of the scheduler (``tcp://HOST:8786``), or ``local``, ``local:N``: N processes of this machine.

    Raises:
        InputError: there is no scheduler, or a worker has other weights or another version. GencommError: the scheduler was lost.
    """
    with connected(address) as client, _noticed_interrupts() as interrupted:
        from distributed import as_completed

        weights = place.weights and place.weights.absolute()
        there = replace(place, folder=Path(uuid.uuid4().hex), weights=weights)
        sent: dict[Future, Job] = {}
        queue, finished = iter(left), as_completed()

        def submit(count: int) -> None:
            for job in islice(queue, max(0, count)):
                image = (place.folder / original(job.cell.image)).read_bytes()
                future = client.submit(work, there, job, image, job.finished and job.finished.read_bytes(), pure=False)
                sent[future] = job
                finished.add(future)

        try:
            submit(LEAST_AHEAD)
            for future in finished:
                if interrupted.is_set():
                    raise KeyboardInterrupt
                job = sent.pop(future)
                submit(max(LEAST_AHEAD, 2 * sum(client.nthreads().values())) - len(sent))
                yield _received(future, job, place)
        finally:
            client.cancel(list(sent))


@contextlib.contextmanager
def _noticed_interrupts() -> Generator[threading.Event, None, None]:
    """An event that Ctrl-C sets beside its exception: raised within a callback of Dask's, the exception alone would be lost."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _received(future: Future, job: Job, place: Workplace) -> list[Row]:
    from distributed import CancelledError, KilledWorker

    try:
        results: list[tuple[Row, bytes]] = future.result()
    except KilledWorker:
        line = "--dask: every worker that tried this died, perhaps for want of memory"
        return [Row(cell, "error", line, command=command(cell, job.scheme, place.device, place.precision)) for cell in job.cells]
    except CancelledError:
        raise GencommError("--dask: the scheduler was lost; rows so far are kept: run the same command again") from None
    except GencommError:
        raise
    except Exception as error:  # a job's own failures are rows: what comes here, no job would survive
        raise InputError(
            f"--dask: the cluster cannot run this ({type(error).__name__}: {error}); give scheduler and workers the same gencomm"
        ) from None
    write_files({place.folder / row.output: image for row, image in results if row.output})
    return [row for row, _ in results]


_one_at_a_time = threading.Lock()
"""A worker process may have several threads, but its one model serves one job."""


def work(place: Workplace, job: Job, image: bytes, finished: bytes | None) -> list[tuple[Row, bytes]]:
    """A task: the job's rows, each with the file of its received image (empty where none is kept).

    Args:
        place: its folder is a name that is this sweep's alone. image: the original as a PNG. finished: ``job.finished``'s content.
    """
    with _one_at_a_time:
        worker, here = _worker(place), platform.node()
        folder = worker.place.folder
        if job.cell.version != gencomm_cli.__version__:
            raise InputError(f"--dask: {here} has gencomm {gencomm_cli.__version__}, not {job.cell.version}; install that there")
        if job.scheme.method and not job.scheme.is_here():
            raise InputError(
                f"--dask: {here} has another {job.scheme.name} {job.scheme.preset}; use the same weights and codecs everywhere"
            )
        if not (path := folder / original(job.cell.image)).exists():
            write_files({path: image})
            if pixel_hash(read_image(path)) != job.cell.image_sha256:
                path.unlink()
                raise InputError(f"--dask: {job.cell.image} reached {here} as another image; run the same command again")
        if job.finished is not None and finished is not None:
            path = folder / job.finished.name
            write_files({path: finished})
            job = replace(job, finished=path)
        rows = worker.rows(job)
        results = [(row, (folder / row.output).read_bytes() if row.output else b"") for row in rows]
        for row in rows:
            if row.output:
                (folder / row.output).unlink()
        return results


@lru_cache(maxsize=1)
def _worker(place: Workplace) -> Worker:
    """This process's worker for a sweep, with the model it used last; its files lie in the folder that Dask clears in the end."""
    from distributed import get_worker

    if place.weights is not None and not place.weights.is_dir():
        raise InputError(f"--metric-weights: {platform.node()} has no {place.weights}; put them at one path on every machine")
    folder = Path(get_worker().local_directory) / place.folder
    for name in (ORIGINALS, IMAGES):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return Worker(replace(place, folder=folder, device=str(pipeline.pick_device(place.device))))


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the cluster at ``address``; a ``local`` one lives as long as the client.

    Raises:
        InputError: dask.distributed is not installed, or no scheduler answers.
    """
    distributed = imported("distributed", "--dask: needs dask.distributed; pip install 'gencomm[cluster]'")
    if local := re.fullmatch(r"local(?::([1-9]\d{0,2}))?", address):
        cores = os.cpu_count() or 1
        count = int(local[1] or min(cores, 8))
        threads = {name: max(1, cores // count) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        with kept_from_children():
            started = distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                memory_limit=0,  # none: a model may take more than its share of the machine
                dashboard_address="127.0.0.1:0",
                env=threads,
                preload="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",  # where it reaches them after all
            )
        with started as cluster, distributed.Client(cluster) as client:
            yield client
        return
    try:
        client = distributed.Client(address)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"--dask {address}: no scheduler answers there ({error}); start one with `dask scheduler`, or give local or local:N"
        ) from None
    with client:
        if not client.nthreads():
            console.say(f"bench: {address} has no workers yet; rows come when it has")
        yield client

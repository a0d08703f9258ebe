"""``bench run --dask`` over a real cluster of processes: the rows of a local run, whatever happens to the workers."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gencomm_cli import pipeline, presets
from gencomm_cli.bench.store import read_rows
from tests.bench.test_run import METRICS, Gencomm, by_id, images
from tests.support.commands import COMMAND, failed, picture

LOADED: list[tuple[Any, ...]] = []
"""In a worker: what its models were loaded by."""

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `cluster`)")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", env={"OMP_NUM_THREADS": 1}
    ) as started:
        yield started


def kill_a_busy_worker(cluster: Any, path: Path, rows: int) -> threading.Thread:
    """Once ``path`` has so many rows, ends a worker, by SIGKILL, that holds tasks."""

    def kill() -> None:
        with distributed.Client(cluster) as client:
            while not (path.exists() and path.read_bytes().count(b"\n") >= rows):
                time.sleep(0.01)
            pids = client.run(os.getpid)
            while True:
                victim = next((worker for worker, tasks in client.processing().items() if tasks), None)
                if victim is None:
                    continue
                os.kill(pids[victim], signal.SIGSTOP)  # it finishes nothing from here on
                time.sleep(0.2)  # what it had finished has arrived
                if client.processing()[victim]:
                    os.kill(pids[victim], signal.SIGKILL)
                    return
                os.kill(pids[victim], signal.SIGCONT)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_a_sweep_that_loses_a_worker_half_way_gives_every_row_once(here: Gencomm, photos: Path, cluster: Any) -> None:
    sweep = [
        "bench",
        "run",
        photos,
        "--methods",
        "separate:webp,separate:webp:capacity",
        "--snr",
        "0:2:8",
        "--cbr",
        0.3,
        *METRICS,
    ]
    killer = kill_a_busy_worker(cluster, Path("spread/rows.jsonl"), 4)
    done = here(*sweep, "--out", "spread", "--dask", cluster.scheduler_address)
    assert done.returncode == 0, done.stderr
    killer.join(timeout=1)
    assert not killer.is_alive()  # it did kill one
    assert here(*sweep, "--out", "whole").returncode == 0
    assert Path("spread/rows.jsonl").read_bytes().count(b"\n") == len(by_id(Path("whole"))) == 20
    assert by_id(Path("spread")) == by_id(Path("whole"))
    assert images(Path("spread")) == images(Path("whole"))
    again = here(*sweep, "--out", "spread", "--dask", "tcp://127.0.0.1:9")  # nobody is asked when nothing is left
    assert again.returncode == 0, again.stderr


def test_a_job_that_ends_its_workers_is_a_row_and_is_tried_again(
    here: Gencomm, photos: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ["bench", "run", photos, "--methods", "separate:webp", "--snr", "0:1:9", "--cbr", 0.2, *METRICS, "--out", "out"]
    sweep += ["--dask", cluster.scheduler_address]
    with monkeypatch.context() as patch:
        patch.setattr(cluster.scheduler, "allowed_failures", 0)
        killer = kill_a_busy_worker(cluster, Path("out/rows.jsonl"), 2)
        done = here(*sweep)
        killer.join(timeout=1)
    assert done.returncode == 1
    failures = [row for row in read_rows(Path("out")) if row.status == "error"]
    assert failures
    assert {row.error for row in failures} == {"--dask: every worker that tried this died, perhaps for want of memory"}
    again = here(*sweep)
    assert again.returncode == 0, again.stderr
    assert len(by_id(Path("out"))) == 20


def count_loads() -> None:
    """From here on this process counts the models that it loads."""

    @functools.wraps(pipeline.load)
    def counted(*arguments: Any, **named: Any) -> pipeline.Codec:
        LOADED.append(arguments)
        return counted.__wrapped__(*arguments, **named)

    pipeline.load = counted


def loads() -> int:
    """How many that were; it counts no more."""
    pipeline.load = pipeline.load.__wrapped__  # type: ignore[attr-defined]
    return len(LOADED)


def test_networks_give_the_rows_of_a_local_run_and_each_worker_loads_them_once(
    here: Gencomm, photos: Path, tiny: str, cluster: Any
) -> None:
    sweep = ["bench", photos, "--methods", f"{tiny},{tiny}:coarse", "--snr", "1:2:7", "--cbr", 0.02, "--channels", "rayleigh"]
    sweep += ["--prompts", "own", *METRICS]
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        client.run(count_loads)
        done = here(*sweep, "--out", "spread", "--dask", cluster.scheduler_address)
        loaded = client.run(loads)
    assert done.returncode == 0, done.stderr
    assert list(loaded.values()) == [1, 1]  # of eight jobs
    assert here(*sweep, "--out", "whole").returncode == 0
    assert len(by_id(Path("whole"))) == 16
    assert by_id(Path("spread")) == by_id(Path("whole"))
    assert images(Path("spread")) == images(Path("whole"))


def test_what_stops_the_sweep_is_one_line(
    here: Gencomm, photos: Path, tiny: str, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep: list[object] = ["bench", "run", photos, "--methods", tiny, "--snr", 1, "--cbr", 0.02, *METRICS]
    failed(here(*sweep, "--out", "a", "--dask", "local:2", "--jobs", 2), 2, "--jobs", "local:N")
    done = here(*sweep, "--out", "b", "--dask", "nonsense://")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(b"error: --dask nonsense://: no scheduler answers there")
    reached = ["--dask", cluster.scheduler_address]
    with monkeypatch.context() as patch:
        patch.setattr("gencomm_cli.__version__", "9.9.9")
        done = here(*sweep, "--out", "c", *reached)
    assert done.returncode == 2
    assert b"not 9.9.9" in done.stderr
    find = presets.find
    with monkeypatch.context() as patch:
        patch.setattr("gencomm_cli.presets.find", lambda *names: replace(find(*names), weights_sha256="0" * 64))
        done = here(*sweep, "--out", "d", *reached)
    assert done.returncode == 2
    assert b"use the same weights" in done.stderr


def test_finished_images_travel_too(here: Gencomm, photos: Path, cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Image.fromarray(picture(64, 96)).save(tmp_path / "other/a.png")
    sweep = ["bench", photos / "a.png", "--out", "out", "--methods", "folder:other", "--snr", 5, *METRICS]
    assert here(*sweep, "--dask", cluster.scheduler_address).stdout == b"out/rows.jsonl: 1 ok\n"
    assert read_rows(Path("out"))[0].metrics["psnr"] == float("inf")


def test_interrupted_it_keeps_what_is_done_and_leaves_no_process(
    gencomm: Callable[..., Any], photos: Path, interrupting_children: dict[str, str]
) -> None:
    words = ["bench", "run", str(photos), "--methods", "separate:webp", "--snr", "0:0.1:20", "--cbr", "0.2", *METRICS]
    words += ["--out", "out", "--dask", "local:1"]
    environment = interrupting_children | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([*COMMAND, *words], env=environment, stderr=subprocess.PIPE, start_new_session=True)
    path = Path("out/rows.jsonl")
    while not (path.exists() and path.stat().st_size) and running.poll() is None:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130, errors
    assert b"Traceback" not in errors
    kept = path.read_bytes()
    assert 0 < kept.count(b"\n") < 402
    assert len(read_rows(Path("out"))) == kept.count(b"\n")
    deadline = time.monotonic() + 60
    while _alive(running.pid):
        assert time.monotonic() < deadline, "worker processes outlived the command"
        time.sleep(0.1)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True

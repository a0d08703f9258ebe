"""``bench run`` with a tiny real preset: rows, interruption, failures, several processes, the stored command."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import pipeline
from gencomm_cli.bench.rows import Row
from gencomm_cli.bench.store import read_rows, result
from gencomm_cli.bench.worker import LOST
from gencomm_cli.images import read_image
from tests.methods.diffcom.test_method import KINDS, write_preset
from tests.support.commands import COMMAND, ENVIRONMENT, Result, failed, picture
from tests.support.presets import make_lrisc, scenes

__all__ = ["make_lrisc"]

Gencomm = Callable[..., Result]
METRICS = ["--metrics", "psnr,ssim"]


def by_id(folder: Path) -> dict[str, Row]:
    return {row.cell.id: result(row) for row in read_rows(folder)}


def images(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def test_a_row_holds_what_was_sent_and_what_came(here: Gencomm, photos: Path, tiny: str) -> None:
    done = here("bench", photos, "--out", "out", "--methods", f"{tiny},{tiny}:coarse", "--snr", 5, "--cbr", 0.02,
                "--channels", "rayleigh", "--prompts", "own", *METRICS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"out/rows.jsonl: 4 ok\n"
    refined, coarse = read_rows(Path("out"))[:2]
    assert (refined.cell.method, coarse.cell.method) == ("textguided", "textguided:coarse")
    assert refined.cell.preset == "tiny"
    assert refined.size == (64, 96)
    symbols = refined.symbols
    assert symbols["image"] == int(0.02 * 3 * 64 * 96)
    assert refined.cbr["total"] == pytest.approx(sum(symbols.values()) / (3 * 64 * 96))
    assert refined.prompt_ok in (True, False)
    assert refined.bits["image"] is None
    assert (refined.bits["prompt"] or 0) > 0
    assert set(refined.metrics) == {"psnr", "ssim"}
    received = refined.signal["received_snr_db"]
    assert received == pytest.approx(5, abs=2)
    assert set(refined.seconds) == {"encode", "channel", "decode", "metrics"}
    assert "decode" not in coarse.seconds
    assert (refined.peak_mib or 0) > 50
    assert (coarse.symbols, coarse.cbr, coarse.signal) == (refined.symbols, refined.cbr, refined.signal)
    sent, came = read_image(Path("out/originals/a.png")), read_image(Path("out") / refined.output)
    error = np.mean((sent.astype(float) - came.astype(float)) ** 2)
    assert refined.metrics["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
    assert images(Path("out"))[f"{coarse.cell.id}.png"] != images(Path("out"))[f"{refined.cell.id}.png"]


def test_the_stored_command_makes_the_image_again(here: Gencomm, photos: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--snr", "5,inf", "--channels", "awgn,block", "--cbr", 0.02, "--prompts", "none,own", "--steps", 2]
    arguments += ["--tx-snr", "channel,unknown,0.5", "--seed", 7, "--repeats", 2, "--csi", "none", "--guidance", 1.5, *METRICS]
    methods = f"{tiny},{tiny}:coarse"
    done = here("bench", "run", photos / "b.jpg", "--out", "out", "--methods", methods, "--total", *arguments)
    assert done.returncode == 0, done.stderr
    rows = read_rows(Path("out"))
    assert len(rows) == 2 * 2 * 2 * 3 * 2 * 2
    monkeypatch.chdir("out")
    for row in rows[:: len(rows) // 12 - 1]:
        words = shlex.split(row.command)
        assert words[0] == "gencomm"
        again = _run(words[1:])
        assert again == 0, row.command
        assert Path(f"{row.cell.id}.png").read_bytes() == Path(row.output).read_bytes(), row.command


def test_the_stored_command_of_separate_too(here: Gencomm, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = ["bench", photos, "--out", "out", "--methods", "separate:webp,separate:jpeg2000:capacity", "--cbr", 0.2, "--total"]
    assert here(*sweep, "--snr", 12, "--channels", "awgn,rayleigh", *METRICS).returncode == 0
    fixed = ["--snr", 9, "--modulation", "16qam", "--code-rate", "1/2", "--snr-type", "ebn0"]
    sweep[5] = "separate:webp"
    assert here(*sweep, *fixed, *METRICS).returncode == 0
    rows = read_rows(Path("out"))
    assert len(rows) == 8 + 2
    monkeypatch.chdir("out")
    for row in rows:
        assert row.classical is not None
        assert row.classical["budget_met"] is True
        assert row.classical["payload_bytes"] * 8 == row.bits["image"]
        assert ("OpenJPEG" in row.classical["tool"]) == ("jpeg2000" in row.cell.method)
        assert row.prompt_ok is None
        assert _run(shlex.split(row.command)[1:]) == 0, row.command
        assert Path(f"{row.cell.id}.png").read_bytes() == Path(row.output).read_bytes(), row.command
    assert {row.classical["modulation"] for row in rows if row.classical and row.cell.snr_type == "ebn0"} == {"16qam"}


def test_too_small_a_rate_is_infeasible(here: Gencomm, photos: Path) -> None:
    sweep = ["bench", photos, "--out", "out", "--methods", "separate", "--cbr", 0.0005, "--snr", 1, *METRICS]
    made = here(*sweep)
    assert made.stdout == b"out/rows.jsonl: 2 infeasible\n"
    assert re.search(rb"^bench: 2 rows are infeasible, the first: .*, --cbr: ", made.stderr, re.MULTILINE)
    assert b"2 rows done, 0 left" in here(*sweep).stderr
    assert "--cbr" in read_rows(Path("out"))[0].error


def _run(arguments: list[str]) -> int:
    from gencomm_cli.app import run

    return run(arguments)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_started_again_gives_the_rows_of_an_uninterrupted_run(
    here: Gencomm, photos: Path, tiny: str, processes: int
) -> None:
    arguments: list[Any] = ["bench", "run", photos, "--methods", f"{tiny},{tiny}:coarse", "--snr", "0:2:10", "--cbr", 0.02]
    arguments += ["--channels", "awgn,rayleigh", *METRICS]
    words = [*map(str, arguments), "--jobs", str(processes), "--out", "killed"]
    running = subprocess.Popen([*COMMAND, *words], env=ENVIRONMENT, stderr=subprocess.PIPE)
    path = Path("killed/rows.jsonl")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (path.exists() and path.read_bytes().count(b"\n") >= 6):
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = path.read_bytes()
    assert 6 <= kept.count(b"\n") < 48
    with path.open("ab") as file:
        file.write(kept.split(b"\n")[0][:100])  # as if it had been in the middle of a line
    again = here(*words)
    assert again.returncode == 0, again.stderr
    assert path.read_bytes().startswith(kept)
    assert f"{kept.count(10)} rows done, {48 - kept.count(10)} left".encode() in again.stderr
    whole = here(*arguments, "--out", "whole")  # by one process
    assert whole.returncode == 0, whole.stderr
    assert len(by_id(Path("whole"))) == 48
    assert by_id(Path("killed")) == by_id(Path("whole"))
    assert images(Path("killed")) == images(Path("whole"))
    if processes == 1:
        assert list(by_id(Path("killed"))) == list(by_id(Path("whole")))
    nothing_left = here(*words, "--json")
    assert json.loads(nothing_left.stdout)["rows"] == {"ok": 48, "outage": 0, "infeasible": 0, "error": 0}
    assert b"48 rows done, 0 left" in nothing_left.stderr


def test_processes_end_with_a_parent_that_is_killed_and_not_by_ctrl_c(
    photos: Path, tiny: str, tmp_path: Path, interrupting_children: dict[str, str]
) -> None:
    words = ["bench", str(photos), "--methods", tiny, "--snr", "0:0.1:10", "--jobs", "2", *METRICS, "--out", str(tmp_path / "out")]
    running = subprocess.Popen([*COMMAND, *words], env=interrupting_children, stderr=subprocess.DEVNULL, start_new_session=True)
    path = tmp_path / "out/rows.jsonl"
    while not (path.exists() and path.stat().st_size) and running.poll() is None:
        time.sleep(0.02)
    assert running.poll() is None
    running.kill()
    running.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(running.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGKILL)
    pytest.fail("worker processes outlived their parent")


def test_shards_join_to_the_whole(here: Gencomm, photos: Path, tiny: str) -> None:
    sweep = ["bench", "run", photos, "--methods", f"{tiny},{tiny}:coarse", "--snr", "1,5,10", "--cbr", 0.02, *METRICS]
    for part in ("1/2", "2/2"):
        assert here(*sweep, "--out", f"part{part[0]}", "--shard", part).returncode == 0
    assert here(*sweep, "--out", "whole").returncode == 0
    merged = here("bench", "merge", "part1", "part2", "-o", "joined")
    assert merged.stdout == b"joined/rows.jsonl: 12 rows\n", merged.stderr
    assert by_id(Path("joined")) == by_id(Path("whole"))
    assert images(Path("joined")) == images(Path("whole"))


def test_a_failed_cell_is_a_row_and_is_tried_again(here: Gencomm, photos: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = ["bench", photos, "--out", "out", "--methods", tiny, "--snr", "1,5,10", "--cbr", 0.02, *METRICS]
    decode = pipeline.Codec.decode

    def fails_at_5_db(codec: pipeline.Codec, file: Any, **options: Any) -> pipeline.Reception:
        if file.header.channel.snr_db == 5:
            raise RuntimeError("something\nbroke")
        return decode(codec, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Codec, "decode", fails_at_5_db)
        broken = here(*sweep)
    assert broken.returncode == 1
    assert b"2 of 6 rows failed" in broken.stderr
    rows = read_rows(Path("out"))
    assert {row.error for row in rows if row.status == "error"} == {"RuntimeError: something broke"}
    assert [row.cell.snr_db for row in rows if row.status == "error"] == [5, 5]
    repaired = here(*sweep)
    assert repaired.stdout == b"out/rows.jsonl: 6 ok\n", repaired.stderr
    assert b"4 rows done, 2 left" in repaired.stderr
    assert {row.status for row in read_rows(Path("out"))} == {"ok"}


def test_a_lost_image_is_scored_as_asked(here: Gencomm, photos: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = pipeline.Codec.decode
    monkeypatch.setattr(pipeline.Codec, "decode", lambda *a, **k: replace(decode(*a, **k), outage=True))
    sweep = ["bench", photos / "a.png", "--methods", tiny, "--snr", 1, "--metrics", "psnr,ssim,gmsd,lpips_alex"]
    assert here(*sweep, "--out", "grey").stdout == b"grey/rows.jsonl: 1 outage\n"
    assert here(*sweep, "--out", "paper", "--outage", "sc-sic").returncode == 0
    assert (read_rows(Path("grey"))[0].metrics["psnr"] or 0) > 1
    assert read_rows(Path("paper"))[0].metrics == {"psnr": 0, "ssim": 0, "gmsd": None, "lpips_alex": LOST["lpips_alex"]}


def test_finished_images_are_a_method(here: Gencomm, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "gesco/5dB").mkdir(parents=True)
    Image.fromarray(picture(64, 96)).save(tmp_path / "gesco/5dB/a.png")
    Image.fromarray(picture(48, 64)).save(tmp_path / "gesco/5dB/b.png")
    sweep = ["bench", photos, "--out", "out", "--methods", "folder:gesco/{snr}dB", "--snr", 5, *METRICS]
    assert here(*sweep).stdout == b"out/rows.jsonl: 2 ok\n"
    first, second = read_rows(Path("out"))
    assert first.metrics["psnr"] == float("inf")
    assert (second.metrics["psnr"] or 99) < 30
    assert first.cell.method == "folder:gesco"
    assert first.command == ""
    Image.fromarray(picture(16, 16)).save(tmp_path / "gesco/5dB/b.png")
    again = here(*sweep)
    assert again.returncode == 1
    assert b"16x16" in again.stderr


def test_more_metrics_make_the_rows_again(here: Gencomm, photos: Path, tiny: str) -> None:
    sweep = ["bench", photos, "--out", "out", "--methods", tiny, "--snr", 1]
    assert here(*sweep, "--metrics", "psnr").returncode == 0
    before = by_id(Path("out"))
    assert b"0 rows done, 2 left" in here(*sweep, *METRICS).stderr
    after = by_id(Path("out"))
    assert set(before) == set(after)
    assert b"2 rows done, 0 left" in here(*sweep, "--metrics", "psnr").stderr
    assert by_id(Path("out")) == after


def test_save_images_and_protocol(here: Gencomm, photos: Path, tiny: str) -> None:
    sweep = ["bench", photos / "a.png", "--methods", tiny, "--repeats", 2, "--cbr", 0.02, *METRICS]
    assert here(*sweep, "--out", "first", "--snr", 1, "--save-images", "first").returncode == 0
    assert [bool(row.output) for row in read_rows(Path("first"))] == [True, False]
    assert len(images(Path("first"))) == 1
    done = here(*sweep, "--out", "paper", "--protocol", "004", "--prepare", "crop:32", "--save-images", "none")
    assert done.returncode == 0, done.stderr
    rows = read_rows(Path("paper"))
    assert images(Path("paper")) == {}
    assert {row.cell.snr_db for row in rows} == {1, 5, 10, 15, 20}
    assert {(row.cell.outage, row.size) for row in rows} == {("sc-sic", (32, 32))}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos"], ["--out"]),
        (["nowhere", "--out", "out"], ["nowhere", "no such file"]),
        (["photos", "--out", "out", "--snr", "x"], ["--snr"]),
        (["photos", "--out", "out", "--methods", "magic"], ["--methods", "magic"]),
        (["photos", "--out", "out", "--metrics", "beauty"], ["--metrics", "beauty"]),
        (["photos", "--out", "out", "--metrics", "clip_score"], ["clip_score", "--clip-model"]),
        (["photos", "--out", "out", "--protocol", "005"], ["--protocol", "005"]),
        (["photos", "--out", "out", "--steps", "1", "--option", "steps=2"], ["steps=2", "once"]),
        (["photos", "--out", "out", "--channels", "wire"], ["--channels", "wire"]),
        (["photos", "--out", "out", "--shard", "3/2"], ["--shard"]),
        (["photos", "--out", "photos/a.png"], ["photos/a.png", "--out"]),
        (["photos", "--out", "out", "--prompts", "mine"], ["--prompts", "mine"]),
        (["photos", "--out", "out", "--steps", "0"], ["--steps"]),
        (["photos", "--out", "out", "--snr", "400"], ["--snr"]),
        (["photos", "--out", "out", "--cbr", "0"], ["--cbr"]),
        (["photos", "--out", "out", "--tx-snr", "loud"], ["--tx-snr"]),
        (["photos", "--out", "out", "--snr-type", "ebn0"], ["ebn0", "separate"]),
        (["photos", "--out", "out", "--methods", "separate", "--modulation", "8psk"], ["--modulation", "8psk"]),
        (["photos", "--out", "out", "--fid", "--shard", "1/2"], ["--fid"]),
        (["photos", "--out", "out", "--kid-lite", "--save-images", "first"], ["--kid-lite", "--save-images"]),
    ],
)
def test_bad_usage_is_one_line(here: Gencomm, photos: Path, arguments: list[str], words: list[str]) -> None:
    failed(here("bench", "run", *arguments), 2, *words)
    assert not Path("out/rows.jsonl").exists() or not read_rows(Path("out"))


def made_again(here: Gencomm, row: Row) -> bool:
    """Whether the stored command makes the stored image."""
    os.chdir("out")
    again = here(*shlex.split(row.command)[1:])
    assert again.returncode == 0, again.stderr
    same = Path(f"{row.cell.id}.png").read_bytes() == Path(row.output).read_bytes()
    os.chdir("..")
    return same


def test_diffcom_over_clipped_multipath(here: Gencomm, photos: Path, tmp_path: Path) -> None:
    """Each variant with what it reads, the best of its samples, and the clip ratio as an axis of the report."""
    folder = tmp_path / "com"
    folder.mkdir()
    write_preset(folder, KINDS["adjscc"])
    method = f"diffcom@{folder}"
    done = here("bench", photos / "b.jpg", "--out", "out", "--methods", f"{method},{method}:coarse", "--snr", 10, "--cbr", 0.05,
                "--channels", "multipath:carriers=64,multipath:carriers=64:clip=0.8", "--csi", "estimated", "--steps", 2,
                "--option", "variant=hifi,diffcom", "--option", "gamma=0,0.3", "--option", "samples=2", "--option", "pick=best",
                "--option", "estimator=ls", "--option", "rx-snr=5", *METRICS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_rows(Path("out"))
    assert len(rows) == 2 * (2 + 1 + 1)
    assert {row.cell.clip for row in rows} == {0.8, float("inf")}
    assert {row.cell.unclipped for row in rows} == {"multipath:carriers=64"}
    assert {row.side_ok for row in rows} == {None}
    assert {row.signal["received_snr_db"] for row in rows} == {None}  # the receiver was told another
    assert made_again(here, rows[1])
    assert made_again(here, rows[-1])
    assert here("bench", "report", "out").returncode == 0
    page = Path("out/report.html").read_text()
    assert "Clip ratio" in page
    assert '"axis":"clip","channel":"multipath:carriers=64"' in page.replace(" ", "")


def test_lrisc_says_whether_its_rates_arrived(here: Gencomm, photos: Path, make_lrisc: Callable[..., Path]) -> None:
    Image.fromarray(scenes(1, seed=3)[0]).save(photos / "a.png")
    method = f"lrisc@{make_lrisc()}"
    done = here("bench", photos / "a.png", "--out", "out", "--methods", f"{method},{method}:coarse", "--snr", "-20,10",
                "--tx-snr", 10, "--cbr", 0.03, "--steps", 1, *METRICS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_rows(Path("out"))
    assert [(row.cell.snr_db, row.side_ok) for row in rows] == [(-20, False)] * 2 + [(10, True)] * 2
    assert all(row.symbols["side"] for row in rows)
    assert made_again(here, rows[2])
    assert made_again(here, rows[3])
    assert here("bench", "report", "out").returncode == 0
    assert "Side information lost" in Path("out/report.html").read_text()


def test_lrisc_with_and_without_rates_for_each_part(here: Gencomm, photos: Path, make_lrisc: Callable[..., Path]) -> None:
    """An option of the transmitter is swept as one of the receiver is."""
    Image.fromarray(scenes(1, seed=3)[0]).save(photos / "a.png")
    done = here("bench", photos / "a.png", "--out", "out", "--methods", f"lrisc@{make_lrisc()}", "--snr", 10, "--cbr", 0.03,
                "--steps", 1, "--option", "allocation=uniform,adaptive", *METRICS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    uniform, adaptive = read_rows(Path("out"))
    assert (uniform.cell.option("allocation"), uniform.symbols["side"], uniform.side_ok) == ("uniform", 0, None)
    assert (adaptive.cell.option("allocation"), adaptive.side_ok) == ("adaptive", True)
    assert adaptive.symbols["side"] > 0
    assert made_again(here, uniform)


def test_a_folder_of_before_is_gone_on_with(here: Gencomm, photos: Path) -> None:
    """Rows whose options stand in the order and the form that they were typed in."""
    sweep = ["bench", photos / "a.png", "--out", "out", "--methods", "separate:webp", "--cbr", 0.2, "--snr", "9,12", *METRICS]
    sweep += ["--option", "rx-snr=9", "--option", "estimator=ls"]
    assert here(*sweep).returncode == 0
    today = [json.loads(line) for line in Path("out/rows.jsonl").read_text().splitlines()]
    before = []
    for row in today:
        cell = row["cell"] | {"options": "rx-snr=9.0 estimator=ls"}
        canonical = json.dumps(cell, sort_keys=True, separators=(",", ":"))
        before.append(row | {"id": hashlib.sha256(canonical.encode()).hexdigest()[:16], "cell": cell})
    Path("out/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in before))
    again = here(*sweep)
    assert b"2 rows done, 0 left" in again.stderr
    assert [json.loads(line) for line in Path("out/rows.jsonl").read_text().splitlines()] == today


def test_every_image_and_repeat_has_a_channel_of_its_own_and_all_methods_the_same(here: Gencomm, photos: Path) -> None:
    """Else a mean over block fading is over as many draws as there are repeats, and its interval over images says nothing of it."""
    sweep = ["bench", photos, "--out", "out", "--methods", "separate:webp,separate:jpeg2000:capacity", "--cbr", 0.4, "--repeats", 2]
    sweep += ["--channels", "block", "--snr", 20, "--seed", 3, *METRICS]
    assert here(*sweep).returncode == 0
    seeds: dict[tuple[str, int], set[int]] = {}
    for row in read_rows(Path("out")):
        words = shlex.split(row.command)
        seeds.setdefault((row.cell.image, row.cell.repeat), set()).add(int(words[words.index("--seed") + 1]))
    assert len(seeds) == 4
    assert all(len(each) == 1 for each in seeds.values())  # of both methods
    assert len(set.union(*seeds.values())) == 4


def test_a_folder_whose_images_share_their_channel_is_gone_on_with(here: Gencomm, photos: Path) -> None:
    sweep = ["bench", photos, "--out", "out", "--methods", "separate:webp", "--cbr", 0.4, "--snr", 20, *METRICS]
    assert here(*sweep, "--draws", "shared", "--seed", 3).returncode == 0
    assert all("--seed 3 " in f"{row.command} " and "draws" not in row.cell.to_json() for row in read_rows(Path("out")))
    again = here(*sweep, "--seed", 3)
    assert b"2 rows done, 0 left" in again.stderr
    apart = here(*sweep, "--draws", "each", "--seed", 3)
    assert b"0 rows done, 2 left" in apart.stderr
    assert here("bench", "report", "out").returncode == 0
    assert {"separate:webp, draws shared", "separate:webp, draws each"} <= set(
        re.findall(r"separate:webp, draws \w+", Path("out/table.md").read_text())
    )


def test_diffjscc_over_block_fading_with_its_options(here: Gencomm, photos: Path, make_diffjscc: Callable[..., Path]) -> None:
    """The transmitter is told each repeat's own gain; the stored command makes the same image."""
    method = f"diffjscc@{make_diffjscc('published')}"
    done = here("bench", photos / "a.png", "--out", "out", "--methods", method, "--snr", 5, "--channels", "block",
                "--repeats", 2, "--option", "guidance-lambda=0,50", "--option", "condition=spatial+csi",
                "--option", "colour-fix=on", *METRICS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_rows(Path("out"))
    assert [row.cell.number("guidance_lambda") for row in rows] == [0, 0, 50, 50]
    assert len({images(Path("out"))[f"{row.cell.id}.png"] for row in rows}) == 4
    os.chdir("out")
    for row in rows[1::2]:
        again = here(*shlex.split(row.command)[1:])
        assert again.returncode == 0, again.stderr
        assert Path(f"{row.cell.id}.png").read_bytes() == Path(row.output).read_bytes()
    os.chdir("..")
    assert here("bench", "report", "out").returncode == 0
    assert "lambda" in Path("out/table.md").read_text().lower()

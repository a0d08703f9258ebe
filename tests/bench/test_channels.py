"""Names of a bench's channels: one name each, and the flags that make them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gencomm_cli.bench import channels
from gencomm_cli.bench.channels import Channel
from gencomm_cli.bench.store import read_rows, result
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.errors import InputError
from tests.bench.test_run import METRICS, Gencomm
from tests.support.commands import failed


def test_a_channel_has_one_name() -> None:
    assert channels.name("multipath:cp=10:clip=0.80") == channels.name("multipath:clip=0.8") == "multipath:clip=0.8"
    assert channels.name("multipath:no-interleaver:clip=1:cp=0") == "multipath:cp=0:clip=1:no-interleaver"
    for plain in ("awgn", "rayleigh", "block", "multipath"):
        assert channels.name(plain) == plain
        assert channels.flags(plain) == [{"block": "--block-rayleigh"}.get(plain, f"--{plain}")]
    assert channels.parse("multipath:taps=3") == Channel("multipath", OfdmConfig(taps=3))
    assert channels.parse("awgn") == Channel("awgn")
    fast = "multipath:cp=18:tdl=a:delay-spread=3e-07:speed=120"
    assert channels.name("multipath:speed=120.0:tdl=a:cp=18:delay-spread=300e-9") == fast
    assert channels.parse(fast) == Channel("multipath", OfdmConfig(cp=18), PathModel(tdl="a", delay_spread=3e-7, speed=120))
    words = ["--multipath", "--cp", "18", "--tdl", "a", "--delay-spread", "3e-07", "--speed", "120"]
    assert channels.flags(fast) == words
    assert channels.name("multipath:umi=los:speed=3") == "multipath:umi=los"
    assert channels.name("multipath:tdl=a:pilot-period=4") == "multipath:tdl=a:pilot-period=4"  # whatever the speed
    assert channels.flags("multipath:cp=0:no-interleaver") == ["--multipath", "--cp", "0", "--no-interleaver"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wire",
        "awgn:cp=0",
        "multipath:cp",
        "multipath:cp=1.5",
        "multipath:seed=3",
        "multipath:cp=999",
        "multipath:tdl=f",
        "multipath:tdl=a:umi=los",
        "multipath:speed=3",
        "multipath:tdl=a:speed=fast",
        "awgn:tdl=a",
        "multipath:cir=a.npz",
    ],
)
def test_channels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--ch|^cp:"):
        channels.name(text)


def test_multipath_and_its_variants_are_swept(here: Gencomm, photos: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    swept = "block,multipath,multipath:clip=0.8"
    done = here("bench", photos / "a.png", "--out", "out", "--methods", f"{tiny},separate", "--snr", 10, "--cbr", 0.05,
                "--channels", swept, "--csi", "estimated", *METRICS)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {(row.cell.method, row.cell.channel): row for row in map(result, read_rows(Path("out")))}
    assert {channel for _, channel in rows} == set(swept.split(","))
    sent = rows["textguided", "multipath"]
    assert (sent.cbr["pilots"] or 0) * 3 * 64 * 96 == pytest.approx(256)
    assert sent.cbr["total"] == pytest.approx(
        sum(value or 0 for name, value in sent.cbr.items() if name not in ("requested", "total"))
    )
    assert sent.signal["received_snr_db"] is None  # the true gains are nobody's
    assert (sent.signal["evm_percent"] or 0) > 0
    assert rows["separate:avif", "multipath"].status in ("ok", "outage", "infeasible")
    monkeypatch.chdir("out")
    for row in rows.values():
        if row.status != "infeasible":
            assert here(*shlex.split(row.command)[1:]).returncode == 0, row.command
            assert Path(f"{row.cell.id}.png").read_bytes() == Path(row.output).read_bytes(), row.command


def test_a_bench_sweeps_speed_and_delay_spread(here: Gencomm, photos: Path, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--methods", f"{tiny}:coarse", "--snr", 10, "--cbr", 0.02, "--metrics", "psnr", "--csi", "estimated"]
    swept = ["--option", "speed=3,120,500", "--option", "delay-spread=1e-7,3e-7"]
    done = here("bench", photos / "a.png", "--out", "out", *arguments, "--channels", "multipath:cp=18:tdl=a", *swept)
    assert done.returncode == 0, done.stderr
    rows = [result(row) for row in read_rows(Path("out"))]
    assert len(rows) == 6
    assert {row.cell.number("speed") for row in rows} == {3, 120, 500}
    assert len({row.metrics["psnr"] for row in rows}) == 6
    assert here("bench", "report", "out").returncode == 0
    assert '"axis":"speed"' in Path("out/report.html").read_text().replace(" ", "")
    assert any("speed" in path.name for path in Path("out/plots").iterdir())
    failed(here("bench", photos / "a.png", "--out", "no", *arguments, "--channels", "awgn", *swept), 2, "--option speed", "tdl=a")
    monkeypatch.chdir("out")
    row = rows[-1]
    assert here(*shlex.split(row.command)[1:]).returncode == 0, row.command
    assert Path(f"{row.cell.id}.png").read_bytes() == Path(row.output).read_bytes()

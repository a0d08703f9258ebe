"""Names of a bench's channels: one name each, and the flags that make them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gencomm_cli.bench import channels
from gencomm_cli.bench.store import read_rows, result
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.errors import InputError
from tests.bench.test_run import METRICS, Gencomm


def test_a_channel_has_one_name() -> None:
    assert channels.name("multipath:cp=10:clip=0.80") == channels.name("multipath:clip=0.8") == "multipath:clip=0.8"
    assert channels.name("multipath:no-interleaver:clip=1:cp=0") == "multipath:cp=0:clip=1:no-interleaver"
    for plain in ("awgn", "rayleigh", "block", "multipath"):
        assert channels.name(plain) == plain
        assert channels.flags(plain) == [{"block": "--block-rayleigh"}.get(plain, f"--{plain}")]
    assert channels.parse("multipath:taps=3") == ("multipath", OfdmConfig(taps=3))
    assert channels.parse("awgn") == ("awgn", None)
    assert channels.flags("multipath:cp=0:no-interleaver") == ["--multipath", "--cp", "0", "--no-interleaver"]


@pytest.mark.parametrize(
    "text", ["", "wire", "awgn:cp=0", "multipath:cp", "multipath:cp=1.5", "multipath:seed=3", "multipath:cp=999"]
)
def test_channels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--ch|--cp"):
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

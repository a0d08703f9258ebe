"""``meta`` comes back as it was, and what is missing, unknown or out of range is refused."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from gencomm_cli import symbols
from gencomm_cli.errors import InputError
from gencomm_cli.symbols import ChannelRecord, Header
from tests.support.symbols import (
    FORMAT,
    ideal,
    members,
    packed,
    received,
    refused,
    sent,
    through,
    with_meta,
)


def test_infinite_snr_is_a_string_in_valid_json() -> None:
    meta = received(snr_db=math.inf).header.to_json()
    assert meta["channel"]["snr_db"] == "inf"
    json.dumps(meta, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "other"}, "meta.format"),
        ({"version": 2}, "meta.version: 2 is not 1, the version that this gencomm reads; update it"),
        ({"version": True}, "meta.version"),
        ({"stage": "air"}, "meta.stage"),
        ({"method": "../../etc"}, "meta.method"),
        ({"method": 7}, "meta.method"),
        ({"preset": "a\nb"}, "meta.preset"),
        ({"preset": ""}, "meta.preset"),
        ({"weights_sha256": "0" * 63}, "meta.weights_sha256"),
        ({"weights_sha256": "A" * 64}, "meta.weights_sha256"),
        ({"image_size": [37]}, "meta.image_size"),
        ({"image_size": [0, 53]}, "meta.image_size"),
        ({"image_size": [37.0, 53]}, "meta.image_size"),
        ({"image_size": [True, 53]}, "meta.image_size"),
        ({"image_size": [2**14, 2**14]}, "more than 2\\^27 pixels"),
        ({"image_size": [10**4000, 1]}, "meta.image_size"),
        ({"power": 2.0}, "meta.power"),
        ({"n0": -1}, "meta.n0"),
        ({"n0": "inf"}, "meta.n0"),
        ({"n0": 0.1}, "not the noise power"),
        ({"tx_snr_db": "high"}, "meta.tx_snr_db"),
        ({"tx_snr_db": 1e3}, "meta.tx_snr_db"),
        ({"control_bits": -1}, "meta.control_bits"),
        ({"prompt": "a red door"}, "meta.prompt"),
        ({"prompt": asdict(FORMAT) | {"repetition": 3}}, "prompt.repetition"),
        ({"prompt": asdict(FORMAT) | {"payload_bits": 10**9}}, "prompt.payload_bits"),
        ({"prompt": asdict(FORMAT) | {"text": "a red door"}}, "prompt.'text'"),
        ({"channel": {"kind": "awgn"}}, "channel.snr_db is missing"),
        ({"channel": {"kind": "wire", "snr_db": 3.0, "snr_type": "esn0", "csi": "perfect"}}, "channel.kind"),
        ({"provenance": {"versions": {}, "command": "encode secret.png"}}, "provenance.'command'"),
        ({"provenance": {"versions": {"gencomm": "a prompt of many words"}}}, "provenance.versions"),
        ({"clip": 2.0}, "does not know"),
    ],
)
def test_headers_that_are_not_right_are_refused(changes: dict[str, Any], match: str) -> None:
    refused(with_meta(received(), **changes), match)


@pytest.mark.parametrize("field", ["format", "stage", "method", "cbr", "prompt", "channel", "n0", "provenance", "tx_snr_db"])
def test_missing_fields_are_refused(field: str) -> None:
    file = received()
    meta = {name: value for name, value in file.header.to_json().items() if name != field}
    refused(packed(members(file) | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}), f"meta.{field} is missing")


def test_a_sent_file_says_nothing_of_a_channel() -> None:
    channel = asdict(ChannelRecord("awgn", 3.0, "esn0", "perfect"))
    refused(with_meta(sent(), channel=channel, n0=0.5), "does not know")


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"format": NaN}',
        b'{"n0": 1, "n0": 2}',
        b"[" * 60_000,
        b'{"version": ' + b"9" * 60_000 + b"}",
        b'{"format": "gencomm-symbols", "version": 1e999}',
    ],
)
def test_meta_that_is_no_header_is_refused(meta: bytes) -> None:
    refused(packed(members(sent()) | {"meta": np.frombuffer(meta, np.uint8)}), "meta")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"payload_bytes": 2**40}, "payload_bytes"), ({"payload_bytes": -1}, "payload_bytes"), ({"payload_bytes": 3.5}, "bytes"),
        ({"scale": 0}, "scale"), ({"scale": 65}, "scale"), ({"container": "none"}, "container"), ({"codec": "a/../b"}, "codec"),
        ({"code_rate": "1/200"}, "code_rate"), ({"code": 5}, "code"), ({"crc_bits": True}, "crc_bits"), ({"more": 1}, "more"),
    ],
)  # fmt: skip
def test_classical_fields_that_are_not_right_are_refused(changes: dict[str, Any], match: str) -> None:
    meta = json.loads(json.dumps(ideal().header.to_json()))
    meta["classical"] |= changes
    with pytest.raises(InputError, match=match):
        Header.from_json(meta)
    del meta["classical"]["codec"]
    with pytest.raises(InputError, match="classical"):
        Header.from_json(meta)


def test_the_gain_that_the_transmitter_knew_comes_back_and_is_sane() -> None:
    informed = replace(sent(), header=replace(sent().header, tx_gain=0.6 - 0.2j))
    assert symbols.read(io.BytesIO(symbols.to_bytes(informed))).header.tx_gain == 0.6 - 0.2j
    meta = json.loads(json.dumps(informed.header.to_json()))
    for value in ([0.6], "1", [1, "a"], [1e9, 0], [True, 0], [float("nan"), 0], {"re": 1}, None):
        with pytest.raises(InputError, match="tx_gain"):
            Header.from_json({**meta, "tx_gain": value})
    arrived = through(informed, kind="block", snr_db=3.0, snr_type="esn0", csi="perfect", seed=1)
    assert arrived.csi_gain == pytest.approx(np.array([0.6 - 0.2j]))
    with pytest.raises(InputError, match="tx_gain"):  # a receiver's file never says it
        Header.from_json(json.loads(json.dumps(arrived.header.to_json())) | {"tx_gain": [0.6, -0.2]})


def test_meta_is_as_older_versions_wrote_it() -> None:
    """Field by field, in the same order: files are the same bytes, and are read by the versions before."""
    meta = received(k_side=13).header.to_json()
    assert list(meta) == [
        "format", "version", "stage", "method", "preset", "weights_sha256", "image_size", "cbr", "prompt", "tx_snr_db",
        "control_bits", "power", "channel", "n0", "provenance", "side",
    ]  # fmt: skip
    assert list(meta["prompt"]) == ["payload_bits", "code", "modulation", "repetition", "text_model", "crc_bits"]
    assert list(meta["side"]) == ["payload_bits", "code", "modulation", "repetition", "crc_bits"]
    assert list(meta["cbr"]) == ["requested", "image", "prompt", "side", "pilots", "cp", "total"]
    assert list(meta["channel"]) == ["kind", "snr_db", "snr_type", "csi"]
    assert meta["provenance"] == {"versions": {"gencomm": "0.1.0", "torch": "2.13.0+cpu"}, "channel_seed": 7}
    multipath = received(kind="multipath").header.to_json()
    assert list(multipath["cbr"])[-2:] == ["idle", "total"]
    assert list(multipath["channel"]) == ["kind", "snr_db", "snr_type", "csi", "ofdm"]
    assert multipath["channel"]["ofdm"]["clip"] is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"payload_bits": 2**25}, "side.payload_bits"), ({"code": "a b"}, "side.code"), ({"crc_bits": 65}, "side.crc_bits"),
        ({"modulation": "16qam"}, "side.modulation"), ({"repetition": True}, "side.repetition"),
        ({"text_model": None}, "side.'text_model'"),
        ({"text_model": "gencomm-text-1"}, "side.'text_model'"),
    ],
)  # fmt: skip
def test_side_fields_that_are_not_right_are_refused(changes: dict[str, Any], match: str) -> None:
    file = sent(k_side=13)
    refused(with_meta(file, side=file.header.to_json()["side"] | changes), match)
    refused(with_meta(file, side=None), "meta.side is not a JSON object")


def test_a_prompt_without_a_text_model_is_refused() -> None:
    refused(with_meta(sent(), prompt=asdict(FORMAT) | {"text_model": None}), "prompt.text_model")
    refused(with_meta(sent(), prompt={key: value for key, value in asdict(FORMAT).items() if key != "text_model"}), "is missing")

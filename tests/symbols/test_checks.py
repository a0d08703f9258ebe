"""Header and arrays that do not go together are refused, by who writes and by who reads."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest

from gencomm_cli import symbols
from gencomm_cli.errors import InputError
from gencomm_cli.symbols import SymbolFile
from tests.support.symbols import (
    IDEAL,
    ideal,
    members,
    packed,
    received,
    refused,
    sent,
    through,
    unit,
    with_meta,
)


@pytest.mark.parametrize("name", ["symbols", "prompt_symbols", "csi_gain"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1j * math.nan, complex(0, -math.inf), 1e7, 1e30])
def test_values_that_are_not_sane_are_refused(name: str, value: complex) -> None:
    arrays = members(received())
    arrays[name] = arrays[name].copy()
    arrays[name][3] = value
    refused(packed(arrays), f"{name} holds values")


def test_counts_must_fit_the_header() -> None:
    file = sent()
    refused(packed(members(file) | {"symbols": unit(99)}), "cbr.image")
    refused(packed(members(file) | {"prompt_symbols": unit(21)}), "cbr.prompt")
    refused(packed(members(file) | {"side_symbols": unit(1)}), "cbr.side")
    refused(with_meta(file, image_size=[370, 53]), "cbr.image")
    refused(with_meta(file, prompt=None), "do not agree")
    refused(with_meta(file, cbr=file.header.to_json()["cbr"] | {"total": 0.5}), "not the sum")
    refused(with_meta(file, cbr=file.header.to_json()["cbr"] | {"pilots": 0.5}), "meta.cbr")
    refused(packed(members(sent(k_prompt=0)) | {"symbols": unit(0)}), "cbr.image")


def test_gains_must_fit_the_channel() -> None:
    refused(packed({name: array for name, array in members(received()).items() if name != "csi_gain"}), "csi_gain is missing")
    refused(packed(members(received()) | {"csi_gain": unit(1)}), "100 were expected")
    refused(packed(members(received(kind="block")) | {"csi_gain": unit(100)}), "1 were expected")
    refused(packed(members(received(csi="none")) | {"csi_gain": unit(100)}), "csi_gain is there")
    refused(packed(members(received(kind="awgn")) | {"csi_gain": unit(100)}), "csi_gain is there")
    refused(packed(members(sent()) | {"csi_gain": unit(100)}), "csi_gain is there")
    refused(packed(members(received()) | {"side_csi_gain": unit(1)}), "side_csi_gain is there")


def test_sent_symbols_have_unit_power() -> None:
    refused(packed(members(sent()) | {"symbols": 3 * unit(100)}), "mean power 9")


@pytest.mark.parametrize(
    ("file", "match"),
    [
        (ideal(bits=np.zeros(29, np.uint8)), "meta counts 30"),
        (ideal(bits=np.zeros((5, 6), np.uint8)), "meta counts 30"),
        (ideal(bits=np.zeros(30, np.int64)), "meta counts 30"),
        (ideal(classical=None), "ideal_bits is there"),
        (ideal(classical=replace(IDEAL, fec="ldpc")), "ideal_bits is there"),
        (replace(ideal(), ideal_bits=None), "ideal_bits is missing"),
    ],
)
def test_ideal_bits_go_with_an_ideal_code_alone(file: SymbolFile, match: str) -> None:
    with pytest.raises(InputError, match=match):
        symbols.to_bytes(file)
    arrays = members(file) | ({} if file.ideal_bits is None else {"ideal_bits": file.ideal_bits})
    with pytest.raises(InputError, match="ideal_bits"):
        symbols.read(io.BytesIO(packed(arrays)))


def test_energy_per_bit_needs_bits_and_counts_them() -> None:
    with pytest.raises(InputError, match="symbols that carry bits"):
        received(snr_type="ebn0")
    passed = through(ideal(), kind="awgn", snr_db=10.0, snr_type="ebn0", csi="perfect", seed=0)
    assert passed.header.n0 == pytest.approx(100 / (8 * 30) / 10)

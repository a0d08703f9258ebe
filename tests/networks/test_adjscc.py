"""ADJSCC against the published program's numbers and tensor names."""

from __future__ import annotations

import json
import math

import pytest
import torch

from gencomm_cli.networks.adjscc import ADJSCC, ADJSCCConfig
from tests.support.published import VECTORS, load, load_state


def published_code() -> tuple[ADJSCC, dict[str, torch.Tensor]]:
    """The vector's network in double precision, and the arrays (images are thinned out)."""
    meta, vector = load("diffcom_adjscc_a")
    code = ADJSCC(ADJSCCConfig(meta["C"], meta["width"]))
    load_state(code, vector)
    return code.double(), {key: value.double() for key, value in vector.items() if not key.startswith("state")}


def test_published_numbers() -> None:
    """Features, pictures, and the gradient that DiffCom needs, in double precision."""
    code, vector = published_code()
    image = vector["in.image"]
    for index, snr_db in enumerate(vector["in.snr_db"]):
        snr = snr_db.expand(len(image))
        with torch.no_grad():
            feature = code.jscc_encoder(image, snr)
            torch.testing.assert_close(feature, vector[f"out.feature.snr{index}"], atol=2e-5, rtol=0)
            received = feature / (2 * feature.square().mean()).sqrt() + vector[f"in.noise.snr{index}"]
            picture = code.jscc_decoder(received, snr)[:, :, 1::7, 2::9]
            torch.testing.assert_close(picture, vector[f"out64.image.snr{index}"], atol=3e-6, rtol=0)
    one = image[:1].requires_grad_()
    (code.jscc_encoder(one, vector["in.snr_db"][:1]) * vector["in.grad_weight"]).sum().backward()
    assert one.grad is not None
    torch.testing.assert_close(one.grad[:, :, 1::7, 2::9], vector["out64.grad_image"], atol=1e-9, rtol=1e-9)


def test_released_tensors_fit_the_full_size() -> None:
    released = json.loads((VECTORS / "diffcom_adjscc_full_keys.json").read_text())
    with torch.device("meta"):
        code = ADJSCC(ADJSCCConfig())
    ours = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in code.state_dict().items()}
    assert ours == released


def test_rates_power_and_what_is_not_sent() -> None:
    torch.manual_seed(0)
    fixed, free = (ADJSCC(ADJSCCConfig(6, 16, rate_adaptive=adaptive)).eval() for adaptive in (False, True))
    for channels, published in ((2, 48), (4, 24), (6, 16)):
        assert ADJSCCConfig(channels).cbr == pytest.approx(1 / published)
    size = (32, 48)
    assert fixed.symbols(7, size) == free.symbols(10**9, size) == 6 * 8 * 12 // 2 == round(fixed.config.cbr * 3 * 32 * 48)
    image, snr = torch.rand(2, 3, *size), torch.tensor([10.0, math.nan])
    with torch.no_grad():
        for k in (1, 37, 96, 288):
            sent = free.encode(image, k, snr)
            assert sent.shape == (2, k)
            torch.testing.assert_close(sent.abs().square().mean(1), torch.ones(2))
            assert free.decode(sent, size, snr.nan_to_num()).shape == image.shape
        torch.testing.assert_close(fixed.encode(image, 288, snr), ADJSCC.encode(fixed, image, 288, torch.tensor([10.0, 7.0])))
        whole, first = free.encode(image, 288, snr), free.encode(image, 96, snr)  # two channels of six
        code = free.jscc_encoder(image, snr.nan_to_num(7.0))
        torch.testing.assert_close(first.real * code[:, :1].square().add(code[:, 1:2].square()).mean((1, 2, 3))[:, None].sqrt(),
                                   code[:, 0].flatten(1), atol=1e-5, rtol=1e-4)  # fmt: skip
        assert not torch.equal(whole[:, :96], first)
    with pytest.raises(ValueError, match="3 symbols asked of a code that has 288"):
        fixed.encode(image, 3, snr)

"""SwinJSCC against the published program's numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig, bitonic_order, top_channels
from tests.support.published import load, load_state, recorded, recorded_state

TINY: dict[str, Any] = {"dims": (8, 12), "depths": (2, 2), "heads": (2, 3), "window": 2, "trained_size": 32}


def published_config(arguments: dict[str, Any]) -> SwinJSCCConfig:
    encoder = arguments["encoder_kwargs"]
    return SwinJSCCConfig(
        tuple(encoder["embed_dims"]), tuple(encoder["depths"]), tuple(encoder["num_heads"]), encoder["window_size"], encoder["C"],
        snr="SAandRA" in encoder["model"] and "w/o" not in encoder["model"], trained_size=encoder["img_size"][0],
    )  # fmt: skip


def test_published_numbers_with_snr_and_rate_modulation() -> None:
    """Features under both ModNets, which channels are sent, and the picture from those that arrived."""
    arguments, vector = load("swinjscc_sara_a")
    net = SwinJSCC(published_config(arguments)).eval()
    load_state(net, vector)
    snr_db, rate = torch.tensor([13.0]), torch.tensor([11.0])
    with torch.no_grad():
        features, gates = net.encoder(vector["image"], snr_db, rate)
        torch.testing.assert_close(gates.sum((1, 2)), vector["score"], atol=1e-4, rtol=0)
        chosen = top_channels(gates, 11)
        assert torch.equal(chosen, vector["mask"].bool())
        torch.testing.assert_close((features * chosen[:, None, None]).flatten(1, 2), vector["feature"], atol=1e-5, rtol=0)
        picture = net.decoder(vector["rx"].view(features.shape), snr_db)
    torch.testing.assert_close(picture[..., 1::3, 1::5], vector["recon"], atol=3e-4, rtol=0)


def test_published_numbers_at_a_fixed_rate() -> None:
    arguments, vector = load("swinjscc_wo_a")
    config = published_config(arguments)
    net = SwinJSCC(config).eval()
    load_state(net, vector)
    unused = torch.zeros(1)
    with torch.no_grad():
        features, _ = net.encoder(vector["image"], unused, unused)
        torch.testing.assert_close(features.flatten(1, 2), vector["feature"], atol=1e-5, rtol=0)
        picture = net.decoder(vector["rx"].view(features.shape), unused)
    torch.testing.assert_close(picture[..., 1::3, 1::5], vector["recon"], atol=3e-4, rtol=0)
    assert net.symbols(1, (64, 64)) == 4 * 4 * 6 // 2


@pytest.mark.parametrize("snr_db", [1, 13])
def test_recorded_numbers_with_snr_modulation(snr_db: int) -> None:
    arguments, vector = recorded("swinjscc_sa_a")
    net = SwinJSCC(replace(published_config(arguments), snr=True)).eval()
    net.load_state_dict(recorded_state(vector, "sd/"))
    told, unused = torch.tensor([float(snr_db)]), torch.zeros(1)
    with torch.no_grad():
        features, _ = net.encoder(vector["image"], told, unused)
        picture = net.decoder(vector[f"rx_snr{snr_db}"].view(features.shape), told)
    torch.testing.assert_close(features.flatten(1, 2), vector[f"feature_snr{snr_db}"], atol=1e-5, rtol=0)
    torch.testing.assert_close(picture, vector[f"recon_snr{snr_db}"], atol=3e-4, rtol=0)


@pytest.mark.parametrize("rate", [5, 12])
def test_recorded_numbers_with_rate_modulation(rate: int) -> None:
    arguments, vector = recorded("swinjscc_ra_a")
    net = SwinJSCC(replace(published_config(arguments), snr=False)).eval()
    net.load_state_dict(recorded_state(vector, "sd/"))
    unused = torch.zeros(1)
    here = {name: vector[f"{name}_snr10_rate{rate}"] for name in ("score", "mask", "feature", "rx", "recon")}
    with torch.no_grad():
        features, gates = net.encoder(vector["image"], unused, torch.tensor([float(rate)]))
        picture = net.decoder(here["rx"].view(features.shape), unused)
    chosen = top_channels(gates, rate)
    torch.testing.assert_close(gates.sum((1, 2)), here["score"], atol=1e-4, rtol=0)
    assert torch.equal(chosen, here["mask"].bool())
    torch.testing.assert_close((features * chosen[:, None, None]).flatten(1, 2), here["feature"], atol=1e-5, rtol=0)
    torch.testing.assert_close(picture, here["recon"], atol=3e-4, rtol=0)


def test_the_lowest_index_wins_a_tie() -> None:
    gates = torch.ones(1, 4, 4, 6)
    gates[..., 4] = 0.5
    assert top_channels(gates, 3)[0].tolist() == [True, True, True, False, False, False]
    assert top_channels(gates, 6).all()


def network(scores: list[float], places: int) -> list[int]:
    """The sorting network comparison by comparison: (score, index, whether there is one) in each place."""
    row = [(score, index, True) for index, score in enumerate(scores)] + [(0.0, -1, False)] * (places - len(scores))
    size = 2
    while size <= places:
        stride = size // 2
        while stride:
            for lane in range(places // 2):
                left = 2 * lane - lane % stride
                first, second = row[left], row[left + stride]
                ahead = (first[0] > second[0] and first[2]) or not second[2]
                if ahead == (size < places and lane // (size // 2) % 2 == 1):
                    row[left], row[left + stride] = second, first
            stride //= 2
        size *= 2
    return [index for _, index, there in row if there]


@pytest.mark.parametrize(("count", "places"), [(20, 32), (100, 128), (320, 1024)])
def test_the_older_sort_of_equal_scores(count: int, places: int) -> None:
    torch.manual_seed(0)
    scores = torch.stack([torch.rand(count), torch.randint(0, 3, (count,)).float(), torch.ones(count)])
    order = bitonic_order(scores)
    for row, found in zip(scores, order, strict=True):
        assert found.tolist() == network(row.tolist(), places)
        assert torch.equal(row[found], row.sort(descending=True).values)
    assert torch.equal(order[0], scores[0].argsort(descending=True))
    assert not torch.equal(order[2], torch.arange(count))  # ties do not keep their order
    gates = scores[1].view(1, 1, 1, count)
    assert top_channels(gates, 7, "bitonic")[0].nonzero().flatten().tolist() == sorted(order[1, :7].tolist())


def test_any_rate_unit_power_and_what_both_ends_are_told() -> None:
    torch.manual_seed(0)
    net = SwinJSCC(SwinJSCCConfig(**TINY)).eval()
    size = (16, 24)
    image, snr = torch.rand(1, 3, *size), torch.tensor([3.0])
    assert net.symbols(10**6, size) == 4 * 6 * 12 // 2
    assert net.symbols(0, size) == 1
    with torch.no_grad():
        for k in (1, 30, 144):
            sent = net.encode(image, k, snr)
            assert float(sent.abs().square().mean()) == pytest.approx(1, abs=1e-5)
            assert net.decode(sent, size, snr).shape == image.shape
        sent = net.encode(image, 48, snr)  # channels 0 … 3
        features, _ = net.encoder(image, snr, torch.tensor([4.0]))
        first = features[..., :4].permute(0, 3, 1, 2).flatten(1)
        scaled = torch.cat([sent.real, sent.imag], 1)
        torch.testing.assert_close(scaled * first.norm() / scaled.norm(), first)
        assert not torch.allclose(net.encode(image, 48, torch.tensor([9.0])), sent)
        torch.testing.assert_close(net.encode(image, 48, torch.tensor([math.nan])), net.encode(image, 48, torch.tensor([7.0])))
        assert not torch.allclose(net.decode(sent, size, snr), net.decode(sent, size, snr + 9))
    with pytest.raises(ValueError, match="200 symbols asked of a code that has 144"):
        net.encode(image, 200, snr)


def test_gradients_reach_the_image_through_both_halves() -> None:
    torch.manual_seed(0)
    net = SwinJSCC(SwinJSCCConfig(**TINY)).double().eval()
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    features, _ = net.encoder(image, torch.tensor([3.0]).double(), torch.tensor([4.0]).double())
    direction = torch.randn_like(image)
    (gradient,) = torch.autograd.grad(features.sum(), image)
    with torch.no_grad():
        ahead, behind = (
            net.encoder(image + step * direction, torch.tensor([3.0]).double(), torch.tensor([4.0]).double())[0].sum()
            for step in (1e-5, -1e-5)
        )
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-5)

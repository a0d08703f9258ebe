"""The code of a latent, piece by piece, against plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gencomm_cli.networks.ntscc import LatentJSCC, NTSCCConfig, WindowBlock, embedding_snr, pack, unit_power, unpack
from gencomm_cli.networks.rate_allocation import RATES
from gencomm_cli.networks.snr_adaptive import MODULATIONS, SnrAdaptive

CONFIG = NTSCCConfig(channels=128, depth=1, heads=2, window=2, snr_width=8)


def code(seed: int = 0) -> LatentJSCC:
    torch.manual_seed(seed)
    return LatentJSCC(CONFIG).eval().requires_grad_(False)


def random_levels(batch: int, rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, len(RATES) + 1, (batch, rows, columns), generator=torch.Generator().manual_seed(seed))


def test_as_many_symbols_as_the_level_says() -> None:
    levels = random_levels(2, 4, 6)
    mask = code().mask(levels)
    rates = torch.tensor([*RATES, 0])[levels.flatten(1)]
    assert torch.equal(mask.sum(-1), rates)
    symbols = code().encode(torch.randn(2, 128, 4, 6), levels, torch.tensor([3.0, float("nan")]))
    assert symbols.shape == mask.shape
    assert torch.equal(symbols != 0, mask)


def test_each_level_has_a_layer_of_its_own() -> None:
    network, levels = code(), random_levels(1, 2, 4)
    nn.init.zeros_(network.sent_token)
    nn.init.zeros_(network.received_token)
    z = torch.randn(1, 128, 2, 4)
    u = network.sent_snr(network.scale_in(z.permute(0, 2, 3, 1)), torch.zeros(1, 2, 4)).flatten(1, 2)[0]
    symbols = network.encode(z, levels, torch.zeros(1))[0]
    back = torch.zeros(8, 128)
    for place, level in enumerate(levels.flatten().tolist()):
        if level == len(RATES):
            continue
        first = 2 * sum(RATES[:level])
        part = slice(first, first + 2 * RATES[level])
        reals = network.fc_encode.weight[part] @ u[place] + network.fc_encode.bias[part]
        torch.testing.assert_close(torch.view_as_real(symbols[place, : RATES[level]]).flatten(), reals, atol=1e-5, rtol=1e-4)
        back[place] = network.fc_decode.weight[:, part] @ reals
    snr_db = torch.zeros(1, 8)
    expected = network.scale_out(network.received_snr(back, snr_db[0])).T.view(1, 128, 2, 4)
    torch.testing.assert_close(network.decode(symbols[None], levels, snr_db), expected, atol=1e-5, rtol=1e-4)


def test_rate_tokens_are_merged() -> None:
    network, levels = code(), torch.tensor([[[0, 1], [1, 0]]])
    z = torch.randn(1, 128, 1, 1).expand(1, 128, 2, 2)
    first = network.encode(z, levels, torch.zeros(1))
    nn.init.normal_(network.sent_token)
    second = network.encode(z, levels, torch.zeros(1))
    assert not torch.allclose(first[0, :, 0], second[0, :, 0])
    torch.testing.assert_close(second[0, 0], second[0, 3])  # the same embedding at the same rate


def test_linear_start_sends_the_first_channels() -> None:
    network = code()
    scale = torch.linspace(5, 0.1, 128)
    network.start_linear(scale)
    levels = torch.full((1, 2, 2), 3)  # 4 symbols, 8 channels
    z = torch.randn(1, 128, 2, 2) * scale[:, None, None]
    symbols = network.encode(z, levels, torch.zeros(1))
    back = network.decode(symbols, levels, torch.zeros(1, 4))
    torch.testing.assert_close(back[:, :8], z[:, :8], atol=1e-4, rtol=1e-4)
    assert not back[:, 8:].any()
    many = torch.randn(1, 128, 64, 64, generator=torch.Generator().manual_seed(0)) * scale[:, None, None]
    power = network.encode(many, torch.full((1, 64, 64), 6), torch.zeros(1))[..., : RATES[6]].abs().square().mean()
    assert float(power) == pytest.approx(1, rel=0.05)


def test_windows_attend_as_a_loop_does() -> None:
    torch.manual_seed(1)
    block = WindowBlock(8, 2, 2, 1, 2)
    nn.init.normal_(block.proj.weight)
    nn.init.normal_(block.bias)
    x = torch.randn(1, 4, 6, 8)
    found = block._attend(x)
    q, k, v = block.qkv(x)[0].chunk(3, -1)
    out = torch.zeros(4, 6, 8)
    for row, column in torch.cartesian_prod(torch.arange(4), torch.arange(6)).tolist():
        # windows of the picture that is shifted by one, cut at its edges: rows {0}, {1, 2}, {3}; columns {0}, {1, 2}, {3, 4}, {5}
        seen = [(r, c) for r in range(4) for c in range(6) if (r + 1) // 2 == (row + 1) // 2 and (c + 1) // 2 == (column + 1) // 2]
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            logits = torch.stack([
                q[row, column, part] @ k[r, c, part] / 2 + block.bias[head, (row - r + 1) * 3 + column - c + 1] for r, c in seen
            ])  # fmt: skip
            values = torch.stack([v[r, c, part] for r, c in seen])
            out[row, column, part] = logits.softmax(0) @ values
    torch.testing.assert_close(found[0], block.proj(out), atol=1e-5, rtol=1e-4)


def test_blocks_start_as_the_identity() -> None:
    x = torch.randn(1, 4, 4, 8)
    assert torch.equal(WindowBlock(8, 2, 2, 0, 2)(x), x)


def test_snr_module_has_the_papers_layers() -> None:
    module = SnrAdaptive(16, 8)
    assert len(module.layers) + 1 == 8
    assert len(module.modulations) == MODULATIONS == 7
    assert all(sum(isinstance(layer, nn.Linear) for layer in each) == 3 for each in module.modulations)  # type: ignore[attr-defined]
    x, snr_db = torch.randn(3, 16), torch.tensor([-5.0, 10.0, 20.0])
    torch.testing.assert_close(module(x, snr_db), 0.5 * x)  # before training
    nn.init.normal_(module.last.weight)
    h = x
    for layer, modulation in zip(module.layers, module.modulations, strict=True):
        h = layer(h) * modulation(snr_db[:, None] / 10)
    torch.testing.assert_close(module(x, snr_db), x * torch.sigmoid(module.last(h)))
    changed = module(x, snr_db + 3)
    assert not torch.allclose(changed, module(x, snr_db))


def test_unit_power_counts_what_is_sent() -> None:
    mask = torch.rand(2, 5, 8) < 0.4
    symbols = unit_power(torch.randn(2, 5, 8, dtype=torch.complex64) * 7, mask)
    for picture in range(2):
        assert float(symbols[picture][mask[picture]].abs().square().mean()) == pytest.approx(1, rel=1e-5)
    assert not symbols[~mask].any()


def test_packing_sends_every_first_symbol_first() -> None:
    network, levels = code(), random_levels(1, 4, 5, seed=3)
    mask = network.mask(levels)[0]
    grid = torch.randn(mask.shape, dtype=torch.complex64) * mask
    sent = pack(grid, mask)
    assert len(sent) == mask.sum()
    assert torch.equal(unpack(sent, mask), grid)
    first = mask[:, 0]
    assert torch.equal(sent[: int(first.sum())], grid[first, 0])


def test_snr_of_an_embedding() -> None:
    mask = torch.tensor([[[True, True, False], [False, False, False]]])
    reliability = torch.tensor([[[10 / 11, 10 / 11, 0.1], [0.5, 0.5, 0.5]]])
    torch.testing.assert_close(embedding_snr(reliability, mask), torch.tensor([[10.0, 0.0]]), atol=1e-4, rtol=0)

"""What a codec's training sends through the channel."""

from __future__ import annotations

import pytest
import torch

from gencomm_cli.training.channel import ChannelDraw
from gencomm_cli.training.codec import through_channel


def test_fading_is_equalised_and_awgn_is_left_as_it_is() -> None:
    class Code:
        multiple = 1

        def symbols(self, wanted: int, size: tuple[int, int]) -> int:
            return wanted

        def encode(self, image: torch.Tensor, symbols: int, snr_db: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(image), symbols, dtype=torch.complex64)

        def decode(self, equalised: torch.Tensor, size: tuple[int, int], snr_db: torch.Tensor) -> torch.Tensor:
            self.snr_db = snr_db
            return torch.view_as_real(equalised)

    torch.manual_seed(0)
    code, snr_db = Code(), torch.tensor([30.0, 30.0, 0.0])
    heard = through_channel(code, torch.zeros(3, 3, 64, 64), 1 / 16, ChannelDraw(snr_db, snr_db, torch.tensor([0, 1, 0])))
    errors = (heard - torch.tensor([1.0, 0.0])).square().sum(-1).mean(1)
    assert errors[0] == pytest.approx(1e-3, rel=0.2)
    assert errors[2] == pytest.approx(1.0, rel=0.2)
    assert 1e-3 < errors[1] < 0.05  # deep fades cost more
    assert code.snr_db[[0, 2]].tolist() == pytest.approx([30, 0], abs=1e-3)
    assert 10 < code.snr_db[1] < 30

"""The colour fix against the published program's pictures, and what it should leave alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gencomm_cli.methods.diffjscc.method import blur, colour_fix, low_frequencies


def test_published_pictures() -> None:
    with np.load(Path(__file__).parents[2] / "vectors" / "diffjscc_colorfix_a.npz", allow_pickle=False) as archive:
        vector = {key: torch.from_numpy(archive[key]) for key in archive.files if key != "meta_json"}
    content, style = vector["content"], vector["style"]
    for radius in (1, 4, 16):
        torch.testing.assert_close(blur(content, radius), vector[f"blur_r{radius}"], atol=1e-5, rtol=0)
    torch.testing.assert_close(low_frequencies(content), vector["content_low"], atol=1e-5, rtol=0)
    torch.testing.assert_close(content - low_frequencies(content), vector["content_high"], atol=1e-5, rtol=0)
    torch.testing.assert_close(colour_fix(content, style), vector["wavelet"], atol=1e-5, rtol=0)


def test_a_wrong_tint_goes_and_the_detail_stays() -> None:
    """On pictures smaller than the widest blur, too."""
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 9, 13)
    tinted = picture + torch.tensor([0.2, -0.1, 0.05]).view(1, 3, 1, 1)
    torch.testing.assert_close(colour_fix(tinted, picture), picture, atol=1e-6, rtol=0)

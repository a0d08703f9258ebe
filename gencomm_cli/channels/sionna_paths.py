"""Paths of 3GPP TR 38.901's models CDL, UMi and UMa, through Sionna, an extra that is imported when used; one antenna at each end,
omnidirectional and vertically polarised."""

from __future__ import annotations

from typing import Any

import numpy as np

from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.paths import Paths, interval
from gencomm_cli.errors import imported


def sionna_paths(model: PathModel, duration: float, rng: np.random.Generator) -> Paths:
    """Paths of a CDL, or of a place drawn in an urban cell, that last for ``duration`` in s; the first arrives at once.

    Powers are as Sionna draws them without path loss and shadow fading, of mean 1 over places.

    Raises:
        InputError: Sionna is not installed.
    """
    needed = "channel: CDL, UMi and UMa need Sionna; pip install 'gencomm[sionna]', or use --tdl"
    imported("sionna.phy", needed).config.seed = int(rng.integers(2**31))
    channels = imported("sionna.phy.channel", needed)
    tr38901 = channels.tr38901
    step, count = interval(model.doppler, duration)
    antenna = tr38901.Antenna("single", "V", "omni", model.carrier_frequency)
    speed = (model.speed or 0.0) / 3.6
    channel: Any
    if model.cdl is not None:
        channel = tr38901.CDL(
            model.cdl.upper(), model.delay_spread, model.carrier_frequency, antenna, antenna, min_speed=speed, max_speed=speed
        )
        found, delays = channel(1, count, 1 / step)
    else:
        scenario, sight = ("umi", model.umi) if model.umi is not None else ("uma", model.uma)
        kind = tr38901.UMi if scenario == "umi" else tr38901.UMa
        channel = kind(
            model.carrier_frequency, "low", antenna, antenna, "downlink", enable_pathloss=False, enable_shadow_fading=False
        )
        place = channels.gen_single_sector_topology(
            1, 1, scenario, indoor_probability=0.0, min_ut_velocity=speed, max_ut_velocity=speed
        )
        upright = [place[0], place[1], 0 * place[2], 0 * place[3], *place[4:]]
        channel.set_topology(*upright, los=sight == "los")
        found, delays = channel(count, 1 / step)
    times, gains = delays.cpu().numpy().astype(np.float64).reshape(-1), found.cpu().numpy().reshape(-1, count)
    there = np.any(gains != 0, axis=1)  # Sionna fills up a place's clusters with some that have neither power nor a sane delay
    return Paths(times[there] - times[there].min(), gains[there].astype(np.complex64), step)

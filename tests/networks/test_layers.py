"""What putting networks together costs: seconds of imports, if arithmetic is done on the device "meta"."""

from __future__ import annotations

import subprocess
import sys

import torch

from gencomm_cli.networks.layers import parameter

SENDING = """
import json, sys
from importlib.resources import files
import torch
from gencomm_cli.presets.build import builders
import gencomm_cli.methods.diffjscc.method, gencomm_cli.methods.textguided.method

def networks(value):
    if isinstance(value, dict):
        if "class" in value:
            sizes = {key: each for key, each in value.items() if key not in ("class", "model", "recipe", "coarse")}
            yield value["class"], value.get("model", sizes)
        for each in value.values():
            yield from networks(each)

built = set()
for recipe in files("gencomm_cli.methods").glob("*/nano.json"):
    for name, sizes in networks(json.loads(recipe.read_text())):
        with torch.device("meta"):
            builders()[name](**sizes)
        built.add(name)
assert {"KLTJSCC", "KLTLatentJSCC", "SwinJSCC", "ResidualADJSCC"} < built, built
for name in ("ADJSCC", "LatentJSCC"):
    with torch.device("meta"):
        builders()[name]()
assert not {"diffusers", "transformers", "sympy"} & sys.modules.keys(), {"diffusers", "transformers", "sympy"} & sys.modules.keys()
"""


def test_what_sends_is_put_together_without_slow_imports() -> None:
    done = subprocess.run([sys.executable, "-c", SENDING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_parameter_has_values_but_on_meta() -> None:
    assert parameter((2,), lambda: torch.arange(2.0)).tolist() == [0, 1]
    with torch.device("meta"):
        assert parameter((2,), lambda: torch.arange(2.0)).is_meta

"""``gencomm doctor``: versions, device, extras and metric weights at hand."""

from __future__ import annotations

from typing import Any

from gencomm_cli.commands import flags

REQUIRED = ("torch", "diffusers", "transformers", "safetensors", "numpy", "pillow", "pyldpc", "constriction", "typer", "rich")
EXTRAS = {
    "heif": ("pillow-heif",),
    "sionna": ("sionna-no-rt",),
    "plots": ("matplotlib",),
    "cluster": ("distributed",),
    "train": ("accelerate", "tensorboard", "webdataset"),
    "test": ("pytest", "scipy", "matplotlib", "pillow-heif", "distributed", "accelerate", "tensorboard", "webdataset"),
    "dev": ("ruff", "mypy", "brotli", "zstandard"),
}
PROGRAMS = {"bpg": "bpgenc and bpgdec", "vtm": "EncoderApp and DecoderApp"}


def doctor(json: flags.Json = False) -> None:
    """Say what is installed and what is missing."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import gencomm_cli
    from gencomm_cli import console, presets
    from gencomm_cli.errors import InputError
    from gencomm_cli.methods.separate.codecs import CODECS
    from gencomm_cli.metrics import weights
    from gencomm_cli.metrics.fetch import SOURCES

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    try:
        folder = weights.folder()
    except InputError as error:
        console.say(str(error))
        folder = None
    complete = {name: folder is not None and all((folder / file).is_file() for file in files) for name, files in SOURCES.items()}
    found: dict[str, Any] = {
        "gencomm": gencomm_cli.__version__,
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in REQUIRED},
        "extras": {extra: {name: installed(name) for name in names} for extra, names in EXTRAS.items()},
        "codecs": {name: codec.version() for name, codec in CODECS.items()},
        "devices": _devices(),
        "presets": [f"{preset.method}/{preset.name}" for preset in presets.available()],
        "metric_weights": {"folder": None if folder is None else str(folder), **complete},
    }
    if json:
        console.print_json(found)
        return
    console.out(f"gencomm {found['gencomm']}, Python {found['python']}")
    for name, number in found["packages"].items():
        console.out(f"  {name:14}{number or 'MISSING: install gencomm again'}")
    for extra, versions in found["extras"].items():
        missing = [name for name, number in versions.items() if number is None]
        console.out(f"extra {extra:10}{'complete' if not missing else 'without ' + ', '.join(missing)}")
    for name, number in found["codecs"].items():
        lacks = f"{PROGRAMS[name]} are not on the PATH" if name in PROGRAMS else "not here"
        console.out(f"codec {name:10}{number or lacks}")
    console.out(f"devices         {', '.join(found['devices'])}")
    console.out(f"presets         {', '.join(found['presets']) or 'none'}")
    for name in SOURCES:
        state = f"in {folder}" if found["metric_weights"][name] else f"not here: `gencomm models get {name}` fetches it"
        console.out(f"{name:16}{state}")


def _devices() -> list[str]:
    try:
        import torch
    except ImportError:
        return ["none: torch is missing"]
    names = [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    return [*names, f"cpu ({torch.get_num_threads()} threads)"]

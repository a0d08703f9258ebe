"""``gencomm doctor``: versions, device, extras and metric weights at hand."""

from __future__ import annotations

from typing import Any

from gencomm_cli.commands import flags


def doctor(json: flags.Json = False) -> None:
    """Say what is installed and what is missing.

    \b
    gencomm doctor
    """
    import platform
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    import gencomm_cli
    from gencomm_cli import console, presets
    from gencomm_cli.errors import InputError
    from gencomm_cli.methods import resolved, specs
    from gencomm_cli.metrics import weights
    from gencomm_cli.metrics.fetch import SOURCES

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    wanted: dict[str, list[str]] = {}
    for requirement in (installed("gencomm") and requires("gencomm")) or ():
        name, extra = re.findall(r"^[\w.-]+", requirement)[0], re.findall(r"extra == ['\"]([\w-]+)", requirement)
        if name != "gencomm":
            wanted.setdefault(extra[0] if extra else "", []).append(name)
    try:
        folder = weights.folder()
    except InputError as error:
        console.say(str(error))
        folder = None
    complete = {name: folder is not None and all((folder / file).is_file() for file in files) for name, files in SOURCES.items()}
    extras = {name: names for spec in specs().values() for name, names in spec.extras.items()}
    extras |= {name: tuple(names) for name, names in wanted.items() if name}
    tools = [tool for spec in specs().values() if spec.doctor for tool in resolved(spec.doctor)()]
    kinds = {f"{tool.kind}s": {each.name: each.version for each in tools if each.kind == tool.kind} for tool in tools}
    found: dict[str, Any] = kinds | {
        "gencomm": gencomm_cli.__version__,
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in wanted.get("", ())},
        "extras": {extra: {name: installed(name) for name in names} for extra, names in extras.items()},
        "devices": _devices(),
        "presets": [f"{preset.method}/{preset.name}" for preset in presets.available(console.say)],
        "metric_weights": {"folder": None if folder is None else str(folder), **complete},
    }
    if json:
        console.print_json(found)
        return
    console.out(f"gencomm {found['gencomm']}, Python {found['python']}")
    for name, number in found["packages"].items():
        console.out(f"  {name:17}{number or 'MISSING: install gencomm again'}")
    for extra, versions in found["extras"].items():
        missing = [name for name, number in versions.items() if number is None]
        console.out(f"extra {extra:10}{'complete' if not missing else 'without ' + ', '.join(missing)}")
    for tool in tools:
        console.out(f"{tool.kind} {tool.name:10}{tool.version or tool.lacks}")
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

"""Publishes a preset on the Hugging Face hub, as a folder that `--preset` takes once it is downloaded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gencomm_cli.errors import GencommError, InputError
from gencomm_cli.presets import Preset, verify
from gencomm_cli.presets.write import taken, write_preset


def push(preset: Preset, repository: str, *, private: bool = False, dry_run: bool = False) -> dict[str, int]:
    """Uploads a preset's config, card and weights to ``repository`` (``OWNER/NAME``), which is made if need be.

    What the preset shares with others is taken along, so that the folder stands by itself; pretrained models are named, not copied.

    Returns:
        Bytes of each file, by its name. ``dry_run``: the same, and nothing is sent.

    Raises:
        InputError: not a name of the hub. ModelMismatch: the weights are damaged.
        GencommError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
        _owner, _name = repository.split("/")
    except ValueError:
        raise InputError(f"--to: {repository!r} is not a repository of the hub; OWNER/NAME is expected") from None
    verify(preset)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, preset.method, preset.name)
        parts = {name: taken(component) for name, component in preset.components.items()}
        write_preset(folder, preset.method, parts, preset.settings, preset.name)
        (folder / "README.md").write_text(preset.card, "utf-8")
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        if not dry_run:
            try:
                api = HfApi()
                api.create_repo(repository, private=private, exist_ok=True)
                api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"{preset.method}/{preset.name}")
            except (HfHubHTTPError, OSError) as error:
                line = str(error).splitlines()[0]
                raise GencommError(f"--to {repository}: not uploaded ({line}); log in with `hf auth login` first") from None
    return sizes

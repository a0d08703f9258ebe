"""``gencomm train METHOD``: trains a preset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gencomm_cli.commands import flags
from gencomm_cli.methods import specs
from gencomm_cli.methods.options import TextTransmitter


def _captioned() -> list[str]:
    """The methods that learn from captions: those that send text."""
    return [spec.name for spec in specs().values() if spec.training and issubclass(spec.transmitter, TextTransmitter)]


def _recipe(method: str, config: Path | None) -> Path | None:
    """The file of a recipe, which may be given by its name among the method's own."""
    from importlib.resources import files

    from gencomm_cli.errors import InputError

    if config is None or config.is_file():
        return config
    shipped = (Path(str(file)) for file in files(specs()[method].package).iterdir())
    own = {file.stem: file for file in shipped if file.suffix == ".json" and file.stem != "numbers"}
    if str(config) not in own:
        raise InputError(f"--config: there is no file {config}, nor a recipe of that name; {method} has {', '.join(sorted(own))}")
    return own[str(config)]


def train(
    method: Annotated[str, flags.method_with("training")],
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR|TARS",
            help="Folder of training images, with captions.tsv; or WebDataset shards with .txt captions: 'train-{000..010}.tar'.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for checkpoints, logs and the finished preset.")],
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Recipe (JSON), or one of the method's by its name, instead of nano's; over a pretrained --start, of the paper's.",
        ),
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(metavar="M", min=0.0, help="Stop by then, with a finished preset; not given: no limit.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints in --out.")] = False,
    stages: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="; ".join(f"{spec.name}: of {spec.stages}" for spec in specs().values() if spec.stages) + ".",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET",
            help="Start from this preset's weights (a name or a folder); default: "
            + "; ".join(f"{spec.name}: {spec.start}" for spec in specs().values() if spec.start)
            + ".",
        ),
    ] = None,
    captioner: Annotated[
        str,
        typer.Option(
            metavar="none|builtin|hf:FOLDER_OR_ID|openai:MODEL",
            help=f"Who captions images that have no caption, once (kept in DIR/cache) [{', '.join(_captioned())}]. A method that "
            "captions at the receiver then learns from these; without it, from the built-in captioner's of each received image.",
        ),
    ] = "none",
    accumulate: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Batches whose gradients make one step; default 1, or as --config says.")
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None,
        typer.Option(help="Of the networks while they train; auto (default): bf16 where the device is fast at it."),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also log to DIR/tensorboard (extra: train).")] = False,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads on a CPU; default: one a core. Two trainings want a core each.")
    ] = None,
    metric_weights: flags.MetricWeights = None,
    device: flags.Device = "auto",
) -> None:
    """Train the networks of a method from images and captions.

    \b
    gencomm train METHOD --data photos --out runs/mine --max-minutes 120
    gencomm train METHOD --data photos --out runs/more --start nano --stages A,B --max-minutes 60
    accelerate launch --multi_gpu -m gencomm_cli train METHOD --data 'photos-{000..099}.tar' --out runs/large
    torchrun --nproc-per-node 8 -m gencomm_cli train METHOD --data photos --out runs/large

    The batch of a recipe is each process's: N of them learn as one does from N times the batch. --out is a folder that all see.
    """
    from gencomm_cli import console
    from gencomm_cli.errors import InputError
    from gencomm_cli.outputs import check_folder

    if data.is_dir():
        from gencomm_cli.datasets import images_of

        if not images_of(data, "train"):
            raise InputError(f"--data {data}: holds no training images; name a folder of .png, .jpg, .heic or other image files")
    else:
        from gencomm_cli.training.data import shards

        shards(data)
    if captioner != "none":
        from gencomm_cli.text.captioners import settled

        if method not in _captioned():
            raise InputError(f"--captioner: {method} learns without captions; it is for {' and '.join(_captioned())}")
        captioner = settled(captioner)
    config = _recipe(method, config)
    check_folder(out)
    if out.is_dir() and data.is_dir() and out.samefile(data):
        raise InputError(f"--out {out}: is --data too, where sheets of pictures would be trained with; name another folder")
    from gencomm_cli.pipeline import pick_device
    from gencomm_cli.training import parallel, trainer

    place, chosen = parallel.join(str(pick_device(device))), tuple(stages.split(",")) if stages else None
    options = trainer.TrainOptions(
        data, out, config, metric_weights, max_minutes, resume, place, chosen, start, accumulate, precision, tensorboard or None,
        captioner, threads,
    )  # fmt: skip
    speaks = parallel.rank() == 0
    trainer.train(method, options, console.say if speaks else lambda line: None)
    if speaks:
        console.out(str(out))
    parallel.leave()

"""The table of a model card: ``python examples/evaluate.py PHOTOGRAPHS --out rows.csv --snr 10,1 --prompts none,own,wrong``.

Sends every image of a folder at every CBR × channel × SNR × prompt × seed, through the functions that the command line calls, and
scores coarse and refined images. The transmitter is told the channel's SNR and fading. Rows are appended as they are made, and
running the same command again goes on where it stopped; the table is printed from the file.

Prompts: ``none``; ``own``, the image's line in ``captions.tsv``; ``wrong``, the next image's; ``builtin``, the captioner's.
LPIPS needs its weights: ``--metric-weights`` or GENCOMM_METRIC_WEIGHTS.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from _common import Photograph, Rows, markdown, mean, names, numbers, photographs

from gencomm_cli import pipeline
from gencomm_cli.methods.base import DecodeOptions
from gencomm_cli.metrics.report import NAMES, measure

KEY = ("weights", "image", "cbr", "budget", "fading", "snr_db", "prompt", "seed", "steps", "guidance")
VALUES = (
    "cbr_image",
    "cbr_total",
    "prompt_ok",
    "encode_s",
    "decode_s",
    *(f"{k}_{n}" for k in ("coarse", "refined") for n in NAMES),
)
SHOWN = ("psnr", "ssim", "gmsd", "lpips_alex", "lpips_squeeze")


def options(photo: Photograph, following: Photograph, row: dict[str, object], total: bool) -> pipeline.EncodeOptions:
    """What the transmitter is asked for one row."""
    text = {"none": "", "own": photo.caption, "wrong": following.caption, "builtin": None}[str(row["prompt"])]
    return pipeline.EncodeOptions(
        cbr=float(str(row["cbr"])),
        cbr_is_total=total,
        snr_db=float(str(row["snr_db"])),
        fading=row["fading"],  # type: ignore[arg-type]
        prompt=text,
        captioner="builtin" if text is None else "none",
    )


def table(rows: list[dict[str, str]]) -> str:
    """Means over images and seeds, one line a setting."""
    setting = ("cbr", "budget", "fading", "snr_db", "prompt", "steps", "guidance")
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in setting), []).append(row)
    header = [*setting, "sends", "prompts lost", "total CBR", *(f"{name} coarse → refined" for name in SHOWN)]
    lines: list[list[object]] = []
    for key, group in groups.items():
        pairs = [[mean(group, f"{kind}_{name}") for kind in ("coarse", "refined")] for name in SHOWN]
        scores = ["–" if a is None or b is None else f"{a:.2f} → {b:.2f}" if a > 2 else f"{a:.3f} → {b:.3f}" for a, b in pairs]
        lost = sum(row["prompt_ok"] == "False" for row in group)
        lines.append([*key, len(group), lost, mean(group, "cbr_total"), *scores])
    return markdown(header, lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images, with captions.tsv for the prompts own and wrong")
    parser.add_argument("--out", type=Path, default=Path("evaluation.csv"))
    parser.add_argument("--method", default="textguided")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--cbr", type=numbers, default=[0.0033])
    parser.add_argument("--total", action="store_true", help="the CBR bounds image and prompt together")
    parser.add_argument("--snr", type=numbers, default=[10.0, 1.0])
    parser.add_argument("--fading", type=names, default=["awgn"], help="of awgn, rayleigh, block")
    parser.add_argument("--prompts", type=names, default=["own"], help="of none, own, wrong, builtin")
    parser.add_argument("--seeds", type=names, default=["0"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--guidance", type=float, help="the preset's if not given")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--limit", type=int, help="only the first images")
    arguments = parser.parse_args()

    photos = photographs(arguments.folder, arguments.limit)
    if {"own", "wrong"} & set(arguments.prompts) and not all(photo.caption for photo in photos):
        parser.error(f"{arguments.folder}: the prompts own and wrong need a caption of every image in captions.tsv")
    codec = pipeline.load_codec(arguments.method, arguments.preset, arguments.device)
    rows = Rows(arguments.out, KEY, VALUES)
    settings = itertools.product(
        arguments.cbr, arguments.fading, arguments.snr, arguments.prompts, arguments.seeds, range(len(photos))
    )
    for cbr, fading, snr_db, prompt, seed, index in settings:
        photo = photos[index]
        row: dict[str, object] = {"weights": codec.preset.weights_sha256[:12], "image": photo.name, "cbr": cbr, "fading": fading}
        row |= {"budget": "total" if arguments.total else "image", "snr_db": snr_db, "prompt": prompt, "seed": seed}
        row |= {"steps": arguments.steps, "guidance": "preset" if arguments.guidance is None else arguments.guidance}
        if rows.has(row):
            continue
        trip = pipeline.roundtrip(
            photo.pixels,
            codec,
            options(photo, photos[(index + 1) % len(photos)], row, arguments.total),
            DecodeOptions(steps=arguments.steps, guidance_scale=arguments.guidance),
            kind=fading,
            snr_db=snr_db,
            snr_type="esn0",
            csi="perfect",
            seed=int(seed),
            use_prompt=True,
            strict=False,
            say=lambda line: print(line, file=sys.stderr),
        )
        reception, sent = trip.reception, trip.sent.header
        row |= {"cbr_image": sent.cbr.image, "cbr_total": sent.cbr.total, "prompt_ok": reception.prompt_ok}
        row |= {"encode_s": round(trip.seconds["encode"], 3), "decode_s": round(trip.seconds["decode"], 3)}
        for kind, image in (("coarse", reception.coarse), ("refined", (reception.refined or (reception.coarse,))[0])):
            scores = measure(photo.pixels, image, arguments.metric_weights)
            row |= {f"{kind}_{name}": value for name, value in scores.items()}
        rows.add(row)
    wanted = codec.preset.weights_sha256[:12]
    print(table([row for row in rows.rows if row["weights"] == wanted]))


if __name__ == "__main__":
    main()

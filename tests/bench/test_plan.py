"""What a sweep becomes: numbers, methods, cells, jobs, shards, protocols."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.bench.options import axes, channel_arguments, decode_arguments, flags, settings
from gencomm_cli.bench.photographs import Photograph
from gencomm_cli.bench.plan import Sweep, jobs, numbers, parts, pending, scheme, shard
from gencomm_cli.bench.protocols import PROTOCOLS
from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.errors import InputError

PHOTOS = [Photograph("a.png", "a house", "0" * 64), Photograph("b.png", "a dog", "1" * 64)]


def cells(sweep: Sweep) -> list[Cell]:
    return [cell for job in jobs(sweep, PHOTOS) for cell in job.cells]


def test_numbers_are_lists_ranges_and_fractions() -> None:
    assert numbers("--snr", "1,5,10") == (1, 5, 10)
    assert numbers("--snr", "-5:5:15") == (-5, 0, 5, 10, 15)
    assert numbers("--snr", "0:0.1:0.3,inf") == (0, 0.1, 0.2, 0.3, math.inf)
    assert numbers("--snr", "10:-5:1") == (10, 5)
    assert numbers("--cbr", "1/384,0.0033") == (1 / 384, 0.0033)
    for text in ("", "a", "1:2", "5:1:0", "0:0:5", "1/0", "nan", "0:1e-9:1", "-inf:1:0", "1:2:3:4"):
        with pytest.raises(InputError, match="--snr"):
            numbers("--snr", text)


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "textguided:fine",
        "textguided@nowhere",
        "textguided:coarse:coarse",
        "folder:",
        "folder:.",
        "separate:gif",
        "separate:avif:ideal",
        "",
    ],
)
def test_methods_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        scheme(text)


def test_a_folder_is_named_by_its_last_fixed_part() -> None:
    assert scheme("folder:results/gesco").name == "folder:gesco"
    assert scheme("folder:results/gesco/").name == "folder:gesco"
    assert scheme("folder:results/gesco/{snr}dB/{name}").name == "folder:gesco"
    assert scheme("folder:results/gesco/snr{snr}").name == "folder:gesco"


def test_every_cell_has_one_job_and_coarse_shares_its_method_s() -> None:
    sweep = Sweep(("textguided:coarse", "textguided"), ((1, 0.0033), (5, 0.0033)), prompts=("none", "own", "wrong"), steps=(1, 5))
    planned = jobs(sweep, PHOTOS)
    found = cells(sweep)
    assert len({cell.id for cell in found}) == len(found) == 2 * 2 * 3 * (2 + 1)
    assert len(planned) == 2 * 2 * 3 * 2
    assert {len(job.cells) for job in planned} == {1, 2}
    for job in planned:
        sent = {replace(cell, method="", steps=None) for cell in job.cells}
        assert len(sent) == 1
        assert job.cell.method == "textguided"
    coarse = [cell for cell in found if cell.method == "textguided:coarse"]
    assert {cell.steps for cell in coarse} == {None}
    assert {cell.prompt_text for cell in found if cell.image == "b.png"} == {"", "a dog", "a house"}


def test_separate_sweeps_codecs_and_leaves_out_what_it_does_not_read() -> None:
    sweep = Sweep(
        ("separate", "separate:jpeg2000", "separate:jpeg2000:capacity", "separate:capacity"), ((1, 0.0033),),
        prompts=("none", "own"), steps=(1, 5), modulation="qpsk", code_rate="1/2",
    )  # fmt: skip
    planned = jobs(sweep, PHOTOS[:1])
    modes = {job.cell.method: (job.cell.modulation, job.cell.code_rate) for job in planned}
    assert modes == {
        "separate:avif": ("qpsk", "1/2"), "separate:jpeg2000": ("qpsk", "1/2"), "separate:jpeg2000:capacity": ("auto", "auto"),
        "separate:avif:capacity": ("auto", "auto"),
    }  # fmt: skip
    assert [len(job.cells) for job in planned] == [1] * 4
    assert len({job.cell.weights_sha256 for job in planned}) == 2  # the codec's version is part of them
    assert {job.cell.prompt for job in planned} == {"none"}


def test_coarse_alone_is_a_job_of_its_own() -> None:
    planned = jobs(Sweep(("textguided:coarse",), ((1, 0.0033),), steps=(1, 5)), PHOTOS)
    assert [len(job.cells) for job in planned] == [1, 1]
    assert planned[0].scheme.coarse


def test_what_is_done_is_left_out_and_a_coarse_row_can_be_made_alone() -> None:
    planned = jobs(Sweep(("textguided", "textguided:coarse"), ((1, 0.0033),)), PHOTOS)
    refined, coarse = planned[0].cells
    left = pending(planned, {refined.id})
    assert left[0].cells == (coarse,)
    assert len(left) == 2
    assert pending(planned, {cell.id for job in planned for cell in job.cells}) == []


def test_everything_in_a_cell_changes_its_id() -> None:
    cell = cells(Sweep(("textguided",), ((1, 0.0033),)))[0]
    for field in fields(Cell):
        other: Any = {field.name: "other"}
        assert replace(cell, **other).id != cell.id, field.name


def test_shards_are_disjoint_and_complete() -> None:
    planned = jobs(Sweep(("textguided",), tuple((snr, 0.0033) for snr in range(7))), PHOTOS)
    found = [shard(planned, (index, 3)) for index in (1, 2, 3)]
    assert sorted(job.cell.id for part in found for job in part) == sorted(job.cell.id for job in planned)
    assert parts("2/3") == (2, 3)
    for text in ("0/3", "4/3", "1", "1/0", "a/b"):
        with pytest.raises(InputError, match="--shard"):
            parts(text)


def test_prompts_need_captions() -> None:
    with pytest.raises(InputError, match=r"captions\.tsv"):
        jobs(Sweep(("textguided",), ((1, 0.0033),), prompts=("own",)), [Photograph("a.png", "", "0" * 64)])


def test_finished_images_are_found_by_snr_and_their_content_counts(tmp_path: Path) -> None:
    for snr in (1, 5):
        (tmp_path / f"gesco/{snr}dB").mkdir(parents=True)
        for photo in PHOTOS:
            (tmp_path / f"gesco/{snr}dB/{photo.name}").write_bytes(f"{snr}{photo.name}".encode())
    sweep = Sweep((f"folder:{tmp_path}/gesco/{{snr}}dB",), ((1, 0.0033), (5, 0.0033)), prompts=("own",), steps=(1, 5))
    before = cells(sweep)
    assert len(before) == 4
    assert {cell.method for cell in before} == {"folder:gesco"}
    (tmp_path / "gesco/1dB/a.png").write_bytes(b"other")
    assert len({cell.id for cell in before} ^ {cell.id for cell in cells(sweep)}) == 2
    with pytest.raises(InputError, match="10dB"):
        jobs(replace(sweep, points=((10, 0.0033),)), PHOTOS)
    with pytest.raises(InputError, match="braces"):
        jobs(replace(sweep, methods=(f"folder:{tmp_path}/{{what}}",)), PHOTOS)


def test_protocols_take_figures_points_unless_flags_say_otherwise() -> None:
    paper = PROTOCOLS["000"]
    assert len(paper.points(None, None)) == 3 + 4
    assert paper.points((7,), None) == tuple((7, cbr) for cbr in paper.cbr)
    assert paper.points(None, (0.5,)) == tuple((snr, 0.5) for snr in paper.snr_db)
    assert paper.points((7,), (0.5,)) == ((7, 0.5),)
    both = PROTOCOLS["001"].points(None, None)
    assert len(both) == len(set(both)) == 2 * 5 + 2 * 2  # two SNR sweeps, and at 1 and 10 dB the two CBRs that they lack


def test_options_are_swept_where_they_are_read(make_diffjscc: Callable[..., Path]) -> None:
    swept = axes(["guidance-lambda=0,10", "condition=spatial+csi,none"])
    sweep = Sweep(
        (f"diffjscc@{make_diffjscc()}", "textguided", "textguided:coarse"), ((5, 0.0033),), guidance=(1.0, 2.0), options=swept
    )
    found = [cell for cell in cells(sweep) if cell.image == "a.png"]
    assert [cell.options for cell in found if cell.method == "diffjscc"] == [
        f"guidance-lambda={value} condition={words}" for value in ("0", "10") for words in ("spatial+csi", "none")
    ]
    assert {cell.guidance for cell in found if cell.method == "diffjscc"} == {None}
    assert [(cell.options, cell.guidance) for cell in found if cell.method == "textguided"] == [("", 1.0), ("", 2.0)]
    assert len({cell.id for cell in found}) == len(found) == 7
    assert decode_arguments(found[0].options) == {"guidance_lambda": 0.0, "condition": ("spatial", "csi")}
    assert flags(found[1].options) == ["--guidance-lambda", "0", "--condition", "none"]
    for cell in found:
        assert Row.from_json(json.loads(json.dumps(Row(cell, "ok", size=(1, 1)).to_json()))).cell == cell
    assert "options" not in found[-1].to_json()


def options_of(method: str, *texts: str, sampled: bool = True) -> list[str]:
    return settings(method, axes(texts), sampled=sampled)


def test_a_variant_is_swept_over_what_it_reads() -> None:
    assert options_of("diffcom", "variant=hifi,diffcom,blind", "gamma=0,1", "zeta=1") == [
        "variant=hifi gamma=0 zeta=1", "variant=hifi gamma=1 zeta=1", "variant=diffcom zeta=1", "variant=blind zeta=1"
    ]  # fmt: skip
    assert options_of("diffcom", "variant=blind", "blind-h=lmmse,diffusion", "zeta-h=1,2") == [
        "variant=blind blind-h=lmmse", "variant=blind blind-h=diffusion zeta-h=1", "variant=blind blind-h=diffusion zeta-h=2"
    ]  # fmt: skip
    assert options_of("diffcom", "samples=1,2", "pick=best") == ["samples=1", "samples=2 pick=best"]
    with pytest.raises(InputError, match="--option pick: best is one of several; add --option samples=4"):
        axes(["pick=best"])


def test_what_every_receiver_reads_is_swept_everywhere(make_diffjscc: Callable[..., Path]) -> None:
    swept = axes(["estimator=ls,lmmse", "rx-snr=3", "samples=2"])
    assert options_of("jscc", "estimator=ls,lmmse", "samples=2") == ["estimator=ls", "estimator=lmmse"]
    assert channel_arguments("samples=2 rx-snr=3") == {"rx_snr": 3.0}
    assert decode_arguments("samples=2 rx-snr=3") == {"samples": 2}
    preset = make_diffjscc()
    planned = jobs(Sweep((f"diffjscc@{preset}", f"diffjscc@{preset}:coarse", "separate"), ((5, 0.01),), options=swept), PHOTOS[:1])
    assert [[cell.options for cell in job.cells] for job in planned] == [
        ["estimator=ls rx-snr=3 samples=2", "estimator=ls rx-snr=3"],
        ["estimator=lmmse rx-snr=3 samples=2", "estimator=lmmse rx-snr=3"],
        ["estimator=ls rx-snr=3"], ["estimator=lmmse rx-snr=3"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["guidance-lambda", "guidance-lambda=", "guidance-lambda=a", "colour-fix=maybe", "seed=1", "=1", "samples=0", "estimator=zf"],
)
def test_options_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--option"):
        axes([text])


def test_an_option_that_no_method_reads_is_refused() -> None:
    with pytest.raises(InputError, match="it is for diffjscc"):
        jobs(Sweep(("textguided",), ((1, 0.0033),), options=axes(["guidance-lambda=1"])), PHOTOS)

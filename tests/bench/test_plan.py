"""What a sweep becomes: numbers, methods, cells, jobs, shards, protocols."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.bench import papers
from gencomm_cli.bench.commandline import command
from gencomm_cli.bench.options import axes, built, combinations, numbers, readers
from gencomm_cli.bench.photographs import Photograph
from gencomm_cli.bench.plan import Sweep, jobs, parts, pending, scheme, shard
from gencomm_cli.bench.rows import Cell, Row, options_text
from gencomm_cli.commands.bench import _option_names
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.methods import spec_of, specs
from gencomm_cli.methods.options import options_of

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
    sweep = Sweep(("textguided:coarse", "textguided"), ((1, 0.0033), (5, 0.0033)), prompts=("none", "own", "wrong"),
                  options=axes(["steps=1,5"]))  # fmt: skip
    planned = jobs(sweep, PHOTOS)
    found = cells(sweep)
    assert len({cell.id for cell in found}) == len(found) == 2 * 2 * 3 * (2 + 1)
    assert len(planned) == 2 * 2 * 3 * 2
    assert {len(job.cells) for job in planned} == {1, 2}
    for job in planned:
        sent = {replace(cell, method="", options=()) for cell in job.cells}
        assert len(sent) == 1
        assert job.cell.method == "textguided"
    coarse = [cell for cell in found if cell.method == "textguided:coarse"]
    assert {cell.number("steps") for cell in coarse} == {None}
    assert {cell.number("steps") for cell in found if cell.method == "textguided"} == {1, 5}
    assert {cell.prompt_text for cell in found if cell.image == "b.png"} == {"", "a dog", "a house"}


def test_separate_sweeps_codecs_and_leaves_out_what_it_does_not_read() -> None:
    sweep = Sweep(
        ("separate", "separate:jpeg2000", "separate:jpeg2000:capacity", "separate:capacity"), ((1, 0.0033),),
        prompts=("none", "own"), options=axes(["steps=1,5", "modulation=qpsk", "code-rate=1/2"]),
    )  # fmt: skip
    planned = jobs(sweep, PHOTOS[:1])
    stored = {job.cell.method: job.cell.to_json() for job in planned}
    modes = {method: (document["modulation"], document["code_rate"]) for method, document in stored.items()}
    assert modes == {
        "separate:avif": ("qpsk", "1/2"), "separate:jpeg2000": ("qpsk", "1/2"), "separate:jpeg2000:capacity": ("auto", "auto"),
        "separate:avif:capacity": ("auto", "auto"),
    }  # fmt: skip
    assert [len(job.cells) for job in planned] == [1] * 4
    assert len({job.cell.weights_sha256 for job in planned}) == 2  # the codec's version is part of them
    assert {job.cell.prompt for job in planned} == {"none"}


def test_coarse_alone_is_a_job_of_its_own() -> None:
    planned = jobs(Sweep(("textguided:coarse",), ((1, 0.0033),), options=axes(["steps=1,5"])), PHOTOS)
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
        other: Any = {field.name: (("steps", "7"),) if field.name == "options" else "other"}
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
    sweep = Sweep(
        (f"folder:{tmp_path}/gesco/{{snr}}dB",), ((1, 0.0033), (5, 0.0033)), prompts=("own",), options=axes(["steps=1,5"])
    )
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
    paper = papers.protocol("textguided")
    assert len(paper.points(None, None)) == 3 + 4
    assert paper.points((7,), None) == tuple((7, cbr) for cbr in paper.cbr)
    assert paper.points(None, (0.5,)) == tuple((snr, 0.5) for snr in paper.snr_db)
    assert paper.points((7,), (0.5,)) == ((7, 0.5),)
    both = papers.protocol("diffjscc").points(None, None)
    assert len(both) == len(set(both)) == 2 * 5 + 2 * 2  # two SNR sweeps, and at 1 and 10 dB the two CBRs that they lack


def test_options_are_swept_where_they_are_read(make_diffjscc: Callable[..., Path]) -> None:
    tried = axes(["guidance-scale=1,2", "guidance-lambda=0,10", "condition=spatial+csi,none"])
    method = f"diffjscc@{make_diffjscc()}"
    sweep = Sweep((method, "textguided", "textguided:coarse"), ((5, 0.0033),), options=tried)
    found = [cell for cell in cells(sweep) if cell.image == "a.png"]
    assert [cell.to_json()["options"] for cell in found if cell.method == "diffjscc"] == [
        f"condition={words} guidance-lambda={value}" for value in ("0", "10") for words in ("spatial+csi", "none")
    ]
    assert {cell.to_json()["guidance"] for cell in found if cell.method == "diffjscc"} == {None}
    assert [cell.options for cell in found if cell.method == "textguided"] == [
        (("guidance_scale", "1"),),
        (("guidance_scale", "2"),),
    ]
    assert [cell.to_json()["guidance"] for cell in found if cell.method == "textguided"] == [1.0, 2.0]
    assert len({cell.id for cell in found}) == len(found) == 7
    _, receiver, _ = built(spec_of("diffjscc"), dict(found[0].options))
    assert receiver == spec_of("diffjscc").receiver(guidance_lambda=0.0, condition=("spatial", "csi"))  # type: ignore[call-arg]
    assert "--condition none --guidance-lambda 0" in command(found[1], scheme(method), "cpu")
    for cell in found:
        assert Row.from_json(json.loads(json.dumps(Row(cell, "ok", size=(1, 1)).to_json()))).cell == cell
    assert "options" not in found[-1].to_json()


def swept(method: str, *texts: str) -> list[str]:
    return [
        " ".join(f"{name.replace('_', '-')}={value}" for name, value in each) for each in combinations(spec_of(method), axes(texts))
    ]


def test_a_variant_is_swept_over_what_it_reads() -> None:
    assert swept("diffcom", "variant=hifi,diffcom,blind", "gamma=0,1", "zeta=1") == [
        "variant=hifi gamma=0 zeta=1", "variant=hifi gamma=1 zeta=1", "variant=diffcom zeta=1", "variant=blind zeta=1"
    ]  # fmt: skip
    assert swept("diffcom", "variant=blind", "blind-h=lmmse,diffusion", "zeta-h=1,2") == [
        "variant=blind blind-h=lmmse", "variant=blind blind-h=diffusion zeta-h=1", "variant=blind blind-h=diffusion zeta-h=2"
    ]  # fmt: skip
    assert swept("diffcom", "samples=1,2", "pick=best") == ["samples=1", "samples=2 pick=best"]
    with pytest.raises(InputError, match="--option pick: best is one of several; add --samples 4"):
        jobs(Sweep(("diffcom",), ((10, 0.02),), options=axes(["pick=best"])), PHOTOS)


def test_what_every_receiver_reads_is_swept_everywhere(make_diffjscc: Callable[..., Path]) -> None:
    tried = axes(["estimator=ls,lmmse", "rx-snr=3", "samples=2"])
    assert swept("jscc", "estimator=ls,lmmse", "samples=2") == ["estimator=ls", "estimator=lmmse"]
    _, receiver, known = built(spec_of("diffjscc"), {"samples": "2", "rx_snr": "3"})
    assert (receiver.samples, known.rx_snr, known.estimator) == (2, 3.0, "lmmse")  # type: ignore[attr-defined]
    preset = make_diffjscc()
    planned = jobs(Sweep((f"diffjscc@{preset}", f"diffjscc@{preset}:coarse", "separate"), ((5, 0.01),), options=tried), PHOTOS[:1])
    assert [[options_text(cell.options) for cell in job.cells] for job in planned] == [
        ["estimator=ls rx-snr=3 samples=2", "estimator=ls rx-snr=3"],
        ["estimator=lmmse rx-snr=3 samples=2", "estimator=lmmse rx-snr=3"],
        ["estimator=ls rx-snr=3"], ["estimator=lmmse rx-snr=3"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["guidance-lambda", "guidance-lambda=", "guidance-lambda=a", "colour-fix=maybe", "seed=1", "=1", "samples=0", "estimator=zf",
     "captioner=me", "capacity=on", "rx-snr=400"],
)  # fmt: skip
def test_options_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--option"):
        axes([text])


def test_an_option_that_no_method_reads_is_refused() -> None:
    with pytest.raises(InputError, match="it is for diffjscc"):
        jobs(Sweep(("textguided",), ((1, 0.0033),), options=axes(["guidance-lambda=1"])), PHOTOS)


def test_numbers_are_swept_by_ranges_and_once() -> None:
    assert axes(["zeta=0:0.5:1,1/4", "steps=1e1,10.0,5"]) == (("zeta", ("0", "0.5", "1", "0.25")), ("steps", ("10", "5")))
    with pytest.raises(InputError, match="given once"):
        axes(["steps=1", "steps=2"])
    with pytest.raises(InputError, match="--steps: 0 is out of range; 1 to 1000"):
        axes(["steps=0"])


def test_a_transmitter_s_option_is_swept_and_the_image_before_diffusion_shares_it() -> None:
    tried = axes(["allocation=uniform,adaptive", "steps=2"])
    planned = jobs(Sweep(("lrisc", "lrisc:coarse", "textguided"), ((5, 0.01),), options=tried), PHOTOS[:1])
    assert [[options_text(cell.options) for cell in job.cells] for job in planned] == [
        ["allocation=uniform steps=2", "allocation=uniform"], ["allocation=adaptive steps=2", "allocation=adaptive"], ["steps=2"]
    ]  # fmt: skip
    transmitter, receiver, _ = built(spec_of("lrisc"), planned[0].scheme.given(planned[0].cell, coarse=False))
    assert (transmitter.allocation, receiver.steps) == ("uniform", 2)  # type: ignore[attr-defined]
    assert "--allocation uniform --steps 2" in command(planned[0].cell, planned[0].scheme, "cpu")
    with pytest.raises(OptionError, match="same rate"):  # diffcom's own code has one rate
        jobs(Sweep(("diffcom",), ((10, 0.02),), options=axes(["allocation=uniform"])), PHOTOS)


def test_what_can_be_swept_follows_from_the_methods_options() -> None:
    declared = {
        name
        for spec in specs().values()
        for end in (spec.transmitter, spec.receiver)
        for name, option in options_of(end).items()
        if option.flag.sweep
    }
    assert set(readers()) == declared | {"estimator", "rx_snr", "speed", "delay_spread"}
    assert {name.replace("_", "-") + "=" for name in readers()} == set(_option_names())
    assert {"prompt", "coarse", "compile", "codec"} & declared == set()


def test_a_prompt_of_the_original_is_asked_for_as_each_method_has_it(make_diffjscc: Callable[..., Path]) -> None:
    methods = (f"diffjscc@{make_diffjscc()}", "textguided", "separate")
    sweep = Sweep(methods, ((5, 0.01),), prompts=("builtin", "own"))
    planned = jobs(sweep, PHOTOS[:1])
    given = [job.scheme.given(job.cell, coarse=False) for job in planned]
    assert given == [
        {"captioner": "builtin", "caption_from": "original"}, {"prompt": "a house"},
        {"captioner": "builtin"}, {"prompt": "a house"},
        {"codec": "avif"},
    ]  # fmt: skip
    with pytest.raises(InputError, match="--option captioner: --prompts builtin says it already"):
        jobs(replace(sweep, options=axes(["captioner=none"])), PHOTOS)


def test_energy_a_bit_is_for_bits_alone() -> None:
    sweep = Sweep(("separate",), ((5, 0.1),), snr_type="ebn0", options=axes(["modulation=qpsk,16qam", "code-rate=1/2"]))
    assert [job.cell.option("modulation") for job in jobs(sweep, PHOTOS[:1])] == ["qpsk", "16qam"]
    jobs(replace(sweep, options=(), tx_snr_db=(3.0,)), PHOTOS)
    for wrong in ({"options": ()}, {"methods": ("separate:capacity",)}, {"methods": ("separate", "textguided")}):
        with pytest.raises(InputError, match="--snr-type ebn0: is for separate alone"):
            jobs(replace(sweep, **wrong), PHOTOS)  # type: ignore[arg-type]


CELL = Cell("a.png", "0" * 64, "diffcom", "nano", "1" * 64, "awgn", 1.0, 0.0033)


def test_the_order_and_the_form_of_options_do_not_change_a_cell() -> None:
    first = replace(CELL, options=(("zeta", "1.50"), ("steps", "5"), ("modulation", "auto")))
    second = replace(CELL, options=(("steps", "5.0"), ("zeta", "1.5")))
    assert first == second
    assert first.id == second.id != CELL.id
    assert first.options == (("steps", "5"), ("zeta", "1.5"))
    assert (first.number("zeta"), first.option("steps"), first.option("eta")) == (1.5, "5", None)


def older(cell: dict[str, Any]) -> dict[str, Any]:
    """A row as it was written when options stood in the order of the command line."""
    canonical = json.dumps(cell, sort_keys=True, separators=(",", ":")).encode()
    return Row(CELL, "ok", size=(1, 1)).to_json() | {"id": hashlib.sha256(canonical).hexdigest()[:16], "cell": cell}


def test_a_row_of_before_is_that_of_today_s_cell() -> None:
    old = CELL.to_json() | {"steps": 2, "guidance": 1.0, "fec": "5g", "options": "zeta=0.50 samples=2 condition=csi+text"}
    today = (("condition", "csi+text"), ("fec", "5g"), ("guidance_scale", "1"), ("samples", "2"), ("steps", "2"), ("zeta", "0.5"))
    row = Row.from_json(older(old))
    assert row.cell == replace(CELL, options=today)
    assert row.to_json()["id"] == replace(CELL, options=today).id != older(old)["id"]
    with pytest.raises(ValueError, match="hash of the cell"):
        Row.from_json(older(old) | {"cell": old | {"steps": 3}})
    for wrong in ({"steps": "2"}, {"guidance": True}, {"fec": 5}, {"seed": "x"}):
        with pytest.raises(TypeError):
            Row.from_json(older(old | wrong))


def test_protocols_by_name_and_by_number() -> None:
    for alias, name in (("000", "textguided"), ("001", "diffjscc"), ("002", "lrisc"), ("003", "diffcom"), ("004", "scsic")):
        assert papers.protocol(alias) is papers.protocol(name)
    for name in ("jscc", "005", ""):
        with pytest.raises(InputError, match=r"--protocol: .* there is: .*textguided"):
            papers.protocol(name)

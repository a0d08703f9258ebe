"""The manual: its commands can be typed, quick ones run, its schemas hold, its notebook works, its pages go with the wheel."""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import re
import shlex
import shutil
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
import yaml
from jsonschema import Draft202012Validator, ValidationError
from PIL import Image

import gencomm_cli
from gencomm_cli import images, presets, symbols
from gencomm_cli.app import app, run
from gencomm_cli.bench import references
from gencomm_cli.bench.plan import Sweep
from gencomm_cli.bench.rows import Row
from gencomm_cli.images import read_image
from gencomm_cli.methods import options, specs
from tests.compatibility.record import ROWS, SYMBOLS
from tests.support.commands import Result
from tests.support.schemas import SCHEMAS, check_printed, validator
from tests.support.symbols import received, sent

Here = Callable[..., Result]
COMMAND_OF = cache(typer.main.get_command)
"""Built anew for each command line otherwise, which takes longer than all the rest."""
ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "models/**/README.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
OTHERS = {".", ".ci/run", "accelerate", "dask", "docker", "for", "make", "pip", "pipx", "python", "python3", "torchrun", "uv"}
"""Programs that pages may show beside gencomm."""


def commands(page: str) -> Iterator[list[str]]:
    """Every program of a page with its arguments; comments, redirections and the shell's own words are left out."""
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(re.sub(r"(; |$)", r" ; ", line), comments=True)
            command: list[str] = []
            for word in [*words, ";"]:
                if word not in ("|", "&&", ";"):
                    command += [] if word.startswith(("<", ">")) or word in ("do", "done") else [word]
                elif command:
                    yield command
                    command = []


class Reached(Exception):
    """A command has read its arguments, and would load weights or begin its work."""


@pytest.fixture
def dry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which commands stop before they do any work."""

    def reached(*_: object, **__: object) -> None:
        raise Reached

    def planned(sweep: Sweep, *_: object, **__: object) -> None:
        assert {re.split("[@:]", method)[0] for method in sweep.methods} <= {*specs(), "folder"}
        raise Reached

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    black = np.zeros((512, 512, 3), np.uint8)
    Image.fromarray(black).save(tmp_path / "photos" / "black.png")
    monkeypatch.setattr("typer.main.get_command", COMMAND_OF)
    monkeypatch.setenv("GENCOMM_DEBUG", "1")  # so that Reached comes through
    monkeypatch.setattr(images, "read_image", lambda source, *_: read_image(source) if isinstance(source, io.BytesIO) else black)
    monkeypatch.setattr("gencomm_cli.bench.run.run", planned)
    for work in (
        "bench.sets.with_inception", "bench.sets.with_lite", "bench.predictability.predictability", "bench.references.read",
        "bench.report.write_report", "bench.store.merge",
        "metrics.fetch.fetch", "pipeline.load", "presets.available", "presets.load_config", "presets.pack.pack_folder",
        "presets.pretrained.add", "radio.recordings.read", "released.checkpoint.files_in", "symbols.read", "training.data.shards",
        "training.trainer.train",
    ):  # fmt: skip
        monkeypatch.setattr(f"gencomm_cli.{work}", reached)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_can_be_typed(page: str, dry: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is read, option by option, up to where it would load weights; those of the sixth method are run by test_foreign."""
    for words in commands(page):
        program, *arguments = words
        if program == "gencomm":
            with contextlib.suppress(Reached):
                assert run(arguments) == 0 or "linear" in " ".join(arguments), (words, capsys.readouterr().err)
        elif program.startswith("python") and arguments[0].endswith(".py"):
            assert (ROOT / arguments[0]).is_file(), words
        else:
            assert program in OTHERS, words


def test_targets_of_make_are_there() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = {words[1] for page in PAGES for words in commands(page) if words[0] == "make"}
    assert {"demo", "test", "docs"} <= shown <= targets


def test_the_first_steps_work_as_written(here: Here, photo: Path) -> None:
    """But for the pipe, which test_end_to_end has; on a small picture."""
    done = 0
    for words in commands("docs/start.md"):
        if "-" not in words:
            result = here(*words[1:])
            assert result.returncode == 0, result.stderr.decode()
            done += 1
    assert done == 18
    assert Image.open(photo.with_name("both.png")).width >= 3 * 96


def blocks(page: str, language: str) -> list[str]:
    """What a page shows of a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_works_as_written(page: str, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's blocks one after the other; its sweep at one SNR."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(photo.parent)
    monkeypatch.setattr(gencomm_cli, "load", cache(gencomm_cli.load))
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photo, Path("photos") / name)
    Path("docs").symlink_to(ROOT / "docs")
    sent().save("tx.npz")
    received().save("rx.npz")
    known: dict[str, Any] = {"image": read_image(photo), "dataclass": dataclass, "Annotated": Annotated}
    known |= {name: getattr(options, name) for name in ("Flag", "ReceiverOptions")}
    for block in blocks(page, "python"):
        exec(block.replace("range(-5, 21, 5)", "range(10, 11)"), known)
    if page == "docs/library.md":
        assert Image.open("psnr.png").width > 100
        assert known["batch"].shape == (2, 3, *known["image"].shape[:2])
        assert [score["psnr"] > 10 for score in known["scores"]] == [True, True]


def test_published_numbers_are_read_as_written(tmp_path: Path) -> None:
    (text,) = blocks("docs/measuring.md", "json")
    (tmp_path / "theirs.json").write_text(text)
    assert [(each.metric, each.cbr, each.snr_db) for each in references.read(tmp_path / "theirs.json")] == [
        ("psnr", 0.0033, None), ("ms_ssim", None, 10),
    ]  # fmt: skip


def test_a_preset_without_networks_is_found_as_written(tmp_path: Path) -> None:
    (text,) = blocks("docs/adding-a-method.md", "json")
    (tmp_path / "config.json").write_text(text.replace('"mine"', '"separate"'))
    found = presets.find("separate", str(tmp_path))
    assert (found.name, found.components) == ("plain", {})


@pytest.mark.parametrize("topic", ["cbr", "snr", "csi", "formats"])
def test_explain_prints_the_page(here: Here, topic: str) -> None:
    printed = here("explain", topic).stdout.decode()
    page = (ROOT / "docs" / "concepts" / f"{topic}.md").read_text("utf-8")
    figures = re.findall(r"!\[", page)
    left_out = [line for line in page.splitlines() if line not in printed]
    assert len(left_out) == 2 * len(figures)  # each with the line under it
    assert all(line.startswith(("![", "*")) for line in left_out)
    assert bool(figures) == (topic != "formats")


def test_explain_goes_with_the_wheel() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "docs/concepts" in wheel["only-include"]
    assert wheel["sources"]["docs/concepts"] == "gencomm_cli/concepts"


def test_cards_say_how_settings_were_chosen() -> None:
    for config in ROOT.glob("models/*/*/config.json"):
        if json.loads(config.read_text("utf-8"))["settings"]:
            assert "chosen" in config.with_name("README.md").read_text("utf-8"), config


def test_figures_and_links_are_there() -> None:
    """Links between pages are `make docs`'s to check; those to other files and in pages that it does not show are ours."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", (ROOT / page).read_text("utf-8")):
            assert (ROOT / page).parent.joinpath(target).exists(), (page, target)


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 8 * 1024


def test_the_citation_names_this_version_and_every_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == gencomm_cli.__version__
    cited = {(paper["title"], paper["url"].removeprefix("https://arxiv.org/abs/")) for paper in citation["references"]}
    assert cited == {(spec.title, spec.reference.removeprefix("arXiv:")) for spec in specs().values() if spec.title}


def test_schemas_are_schemas_and_strict() -> None:
    assert set(SCHEMAS) == {"meta.json", "row.json", "commands.json"}
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    meta = recorded_metas()["diffcom.multipath.rx"]
    wrong: list[dict[str, Any]] = [
        {"more": 1},
        {"stage": "tx"},
        {"n0": -1},
        {"cbr": {}},
        {"channel": {**meta["channel"], "kind": "?"}},
    ]
    for change in wrong:
        with pytest.raises(ValidationError):
            validator("meta.json").validate(meta | change)
    with pytest.raises(ValidationError):
        check_printed(["encode", "--json"], json.dumps({"output": "tx.npz", "meta": meta}).encode())


@cache
def recorded_metas() -> dict[str, dict[str, Any]]:
    """``meta`` of the recorded symbol files by their names, as this version reads and writes it."""
    with tarfile.open(SYMBOLS) as archive:
        files = {member.name.removesuffix(".npz"): archive.extractfile(member) for member in archive if member.isfile()}
        headers = {name: symbols.read(io.BytesIO(file.read())).header for name, file in files.items() if file is not None}
    return {name: json.loads(json.dumps(header.to_json())) for name, header in headers.items()}


def test_recorded_files_and_rows_of_every_method_hold_to_the_schemas() -> None:
    metas = recorded_metas()
    for meta in metas.values():
        validator("meta.json").validate(meta)
    assert {meta["method"] for meta in metas.values()} == set(specs())
    for line in lzma.decompress(ROWS.read_bytes()).splitlines():
        validator("row.json").validate(json.loads(line))
        validator("row.json").validate(json.loads(json.dumps(Row.from_json(json.loads(line)).to_json())))


def test_every_command_with_json_has_a_schema() -> None:
    def with_json(command: Any, name: str) -> Iterator[str]:
        for child_name, child in getattr(command, "commands", {}).items():
            yield from with_json(child, f"{name}-{child_name}".strip("-"))
        if any("--json" in parameter.opts for parameter in command.params):
            yield name

    helpers = {"preset", "metrics"}
    assert set(with_json(typer.main.get_command(app), "")) == SCHEMAS["commands.json"]["$defs"].keys() - helpers


def test_the_notebook_runs(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell in this process, on a small picture; it is stored without outputs."""
    monkeypatch.chdir(photo.parent)
    document = json.loads((ROOT / "examples" / "tour.ipynb").read_text("utf-8"))
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 10
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    photo.rename(photo.with_name("kodim23.png"))
    names: dict[str, Any] = {"display": lambda *_: None}
    for number, cell in enumerate(cells, 1):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert Path("tx.npz").is_file()
    assert names["trip"].reception.image.shape == (64, 96, 3)

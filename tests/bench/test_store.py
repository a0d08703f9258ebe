"""The bench folder: whole lines, one writer, merging."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.store import merge, opened, read_rows
from gencomm_cli.errors import InputError

CELL = Cell("a.png", "0" * 64, "textguided", "nano", "1" * 64, "awgn", 1.0, 0.0033)
ROW = Row(CELL, "ok", metrics={"psnr": float("inf"), "niqe": None}, seconds={"decode": 1.0}, peak_mib=10.0)


def rows_of(count: int) -> list[Row]:
    return [replace(ROW, cell=replace(CELL, repeat=repeat)) for repeat in range(count)]


def fill(folder: Path, rows: list[Row]) -> Path:
    with opened(folder) as store:
        store.add(rows)
    return folder


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    endless = replace(ROW, cell=replace(CELL, snr_db=float("inf")))
    assert read_rows(fill(tmp_path, [ROW, endless])) == [ROW, endless]
    assert b"Infinity" not in (tmp_path / "rows.jsonl").read_bytes()


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    rows = rows_of(3)
    path = fill(tmp_path, rows) / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert read_rows(tmp_path) == rows[:2]
    with opened(tmp_path) as store:
        store.keep(lambda row: True)
        store.add(rows[2:])
    assert read_rows(tmp_path) == rows


@pytest.mark.parametrize("line", [b"{}", b"[]", b"x", b'{"id": "0", "cell": {}}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = fill(tmp_path, [ROW]) / "rows.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match="line 2"):
        read_rows(tmp_path)


def test_a_row_whose_id_is_not_its_cell_s_is_refused(tmp_path: Path) -> None:
    path = fill(tmp_path, [ROW]) / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"awgn"', b'"block"'))
    with pytest.raises(InputError, match="hash of the cell"):
        read_rows(tmp_path)


WRONG = {
    "NaN": {"metrics": {"psnr": float("nan")}}, "infinite": {"classical": {"bytes": float("inf")}}, "size": {"size": [5]},
    "status": {"status": "good"}, "output": {"output": 5}, "figure": {"seconds": {"decode": "1"}},
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_row_with_what_no_row_has_is_named(tmp_path: Path, kind: str) -> None:
    path = fill(tmp_path, [ROW]) / "rows.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | WRONG[kind]) + "\n")
    with pytest.raises(InputError, match=r"line 1: not a row of this version"):
        merge([tmp_path], tmp_path / "out")


@pytest.mark.parametrize("name", ["../src/../secret.png", "../secret.png", "link.png", "images"])
def test_merge_takes_no_file_from_outside_and_writes_none_there(tmp_path: Path, name: str) -> None:
    source = fill(tmp_path / "src", [replace(ROW, output=name)])
    (tmp_path / "secret.png").write_bytes(b"secret")
    (source / "link.png").symlink_to(tmp_path / "secret.png")
    before = {*tmp_path.rglob("*")}
    merge([source], tmp_path / "far/out")
    new = {path.relative_to(tmp_path).as_posix() for path in {*tmp_path.rglob("*")} - before}
    assert new <= {"far", *(f"far/out{end}" for end in ("", "/images", "/originals", "/rows.jsonl", "/.lock"))}


def test_merge_refuses_a_name_that_leads_out_and_in_again(tmp_path: Path) -> None:
    source = fill(tmp_path / "src", [replace(ROW, output="../src/images/a.png")])
    (source / "images/a.png").write_bytes(b"image")
    with pytest.raises(InputError, match="outside of the folder"):
        merge([source], tmp_path / "far/out")
    assert not (tmp_path / "far/src").exists()


def test_a_clip_ratio_that_is_no_number_is_none() -> None:
    assert [replace(CELL, channel=f"multipath:clip={text}").clip for text in ("0.8", "x")] == [0.8, None]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path / "out"), pytest.raises(InputError, match="another bench"), opened(tmp_path / "out"):
        pass
    with opened(tmp_path / "out"):
        pass


def test_merge_joins_and_takes_the_row_that_did_not_fail(tmp_path: Path) -> None:
    rows = rows_of(3)
    failed = replace(rows[0], status="error", error="it broke", metrics={})
    first = fill(tmp_path / "1", [failed, rows[1]])
    (first / "images/x.png").write_bytes(b"image")
    slower = replace(rows[1], seconds={"decode": 9.0}, peak_mib=99.0)
    second = fill(tmp_path / "2", [replace(rows[0], output="images/y.png"), slower, rows[2]])
    (second / "images/y.png").write_bytes(b"image")
    (second / "originals/a.png").write_bytes(b"original")
    assert merge([first, second], tmp_path / "out") == 3
    found = read_rows(tmp_path / "out")
    assert {row.cell.id: row.status for row in found} == {row.cell.id: "ok" for row in rows}
    assert (tmp_path / "out/images/y.png").read_bytes() == b"image"
    assert (tmp_path / "out/originals/a.png").read_bytes() == b"original"
    assert merge([second, first], tmp_path / "out") == 3


def test_merge_refuses_two_results_of_one_cell(tmp_path: Path) -> None:
    first = fill(tmp_path / "1", [ROW])
    second = fill(tmp_path / "2", [replace(ROW, metrics={"psnr": 20.0})])
    with pytest.raises(InputError, match=CELL.id):
        merge([first, second], tmp_path / "out")
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        merge([first, tmp_path / "none"], tmp_path / "other")


def test_merge_refuses_two_originals_of_one_name(tmp_path: Path) -> None:
    first, second = (fill(tmp_path / str(index), [row]) for index, row in enumerate(rows_of(2)))
    (first / "originals/a.png").write_bytes(b"one")
    (second / "originals/a.png").write_bytes(b"two")
    with pytest.raises(InputError, match="another image"):
        merge([first, second], tmp_path / "out")

"""The bench folder: whole lines, one writer, merging."""

from __future__ import annotations

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

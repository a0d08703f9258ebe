"""The bench report in a real browser that is offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.bench import references
from gencomm_cli.bench.report import write_report
from tests.bench.test_report import picture, row, write
from tests.support.browser import Tab


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_the_page_shows_its_plots_and_pictures_without_a_network(chromium: Any, tmp_path: Path, width: int, height: int) -> None:
    rows = []
    for index, (method, snr) in enumerate((method, snr) for method in ("textguided", "separate:avif") for snr in (1.0, 5.0, 10.0)):
        output = f"images/{index}.png"
        picture(tmp_path / output, 40 * index)
        rows.append(row(method=method, snr=snr, output=output, metrics={"psnr": 20.0 + index, "lpips_alex": 0.5 - 0.01 * index}))
    picture(tmp_path / "originals" / "a.png", 128)
    html = write_report(write(tmp_path, *rows), beside=references.codecs())
    context = chromium.new_context(viewport={"width": width, "height": height}, offline=True)
    tab = Tab(context.new_page(), html.as_uri())
    page = tab.page
    panel = page.locator("#curves .panels figure > svg").bounding_box()
    assert panel["width"] > 250
    assert page.locator("#curves .panels polyline").count() == 2 + 7
    page.get_by_role("button", name="PerCo + ideal code").click()
    assert page.locator("#curves .panels polyline").count() == 2 + 6
    assert "capacity" in page.inner_text("#curves")
    assert page.locator("#curves select:visible").count() == 2  # nothing is held, so there is nothing to choose
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    before = page.inner_html("#curves .panels")
    page.get_by_label("Metric").select_option("psnr")
    assert page.inner_html("#curves .panels") != before
    assert page.locator("#curves .panels polyline").count() == 2
    assert page.evaluate("[...document.querySelectorAll('#gallery img')].every(image => image.naturalWidth > 0)")
    page.get_by_role("button", name="PSNR").click()
    assert page.locator("#table th[aria-sort]").count() == 1
    assert (tab.errors, tab.strangers) == ([], [])
    context.close()

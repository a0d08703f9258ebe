"""The window in a real browser, as a user meets it: it works, complains of nothing, and asks nobody but itself."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Tab
from tests.support.commands import COMMAND, ENVIRONMENT

DONE = "document.querySelector('#status')?.innerText.includes('done in')"


@pytest.fixture
def address(chromium: Any, tmp_path: Path) -> Iterator[str]:
    """Of a window that is open; when it ends, nothing of it is left, and it has asked nothing of the network."""
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install 'gencomm[ui]'")
    for folder in ("here", "temporary"):
        (tmp_path / folder).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        proxy = f"http://127.0.0.1:{elsewhere.getsockname()[1]}"
        environment = ENVIRONMENT | {"HTTPS_PROXY": proxy, "TMPDIR": str(tmp_path / "temporary")}
        process = subprocess.Popen(
            [*COMMAND, "ui", "--no-browser", "--device", "cpu"], cwd=tmp_path / "here", env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout
        assert process.stderr
        try:
            yield process.stdout.readline().strip()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 143
            assert "gencomm_cli" not in process.stderr.read()  # the server says when a page hangs up; nothing of ours
        finally:
            process.kill()
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert [*(tmp_path / "here").iterdir(), *(tmp_path / "temporary").glob("gencomm*")] == []


def test_a_photograph_is_sent_again_whenever_a_slider_moves(chromium: Any, address: str, photo: Path, tmp_path: Path) -> None:
    assert address.startswith("http://127.0.0.1:")
    tab = Tab(chromium.new_page(), address)
    page = tab.page

    def pictures() -> list[str]:
        found: list[str] = page.eval_on_selector_all("#compared img", "images => images.map(image => image.src)")
        return found

    page.set_input_files("input[type=file]", photo)
    tab.wait(DONE + " && document.querySelector('#figures').innerText.includes('96 × 64')")
    assert page.locator("#symbols path.received").bounding_box()["width"] > 50
    assert page.evaluate("[...document.querySelectorAll('#compared img')].every(image => image.naturalWidth === 96)")
    original, refined = pictures()
    page.get_by_label("range slider for SNR (dB)").press("End")
    tab.wait(f"{DONE} && document.querySelectorAll('#compared img')[1]?.src !== {refined!r}")
    better = pictures()
    assert better[0] == original
    page.get_by_text("coarse, refined").click()
    tab.wait(f"document.querySelectorAll('#compared img')[0]?.src !== {original!r}")
    assert pictures()[1] == better[1]
    page.get_by_label("Method and preset").click()
    page.get_by_role("option", name="separate/classical").click()
    tab.wait(f"{DONE} && !document.querySelector('#figures').innerText.includes('refined')")
    assert not page.get_by_label("Prompt").is_visible()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    page.set_input_files("input[type=file]", tmp_path / "bad.png")
    tab.wait("document.querySelector('#figures .wrong')")
    assert page.inner_text("#figures .wrong").startswith("bad.png: is not an image")
    assert (tab.errors, tab.strangers) == ([], [])
    page.close()

"""Pages in a real browser: headless Chromium with no network, each page in a frame of a phone's or a desk's width."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium is installed ({', '.join(NAMES)})")

OUTER = """<!doctype html><meta charset="utf-8"><pre id="said"></pre><script>
const said = {};
const measure = (frame) => { const page = frame.contentDocument, view = frame.contentWindow; %(measure)s };
addEventListener("load", () => {
  for (const frame of document.querySelectorAll("iframe")) said[frame.title] = measure(frame);
  document.getElementById("said").textContent = JSON.stringify(said);
});
</script>"""


def measured(pages: Mapping[str, str], measure: str, folder: Path, width: int = 400) -> dict[str, Any]:
    """Return what the body of a JavaScript function of `page` and `view` returns for each page.

    Fails if any page writes to the console, as a script that fails or a policy that is broken does.
    """
    if not _runs():
        pytest.skip(f"{CHROMIUM} does not run here")
    outer = OUTER % {"measure": measure}
    for name, text in pages.items():
        outer += (
            f'<iframe title="{html.escape(name)}" style="width:{width}px;height:800px;border:0" '
            f'srcdoc="{html.escape(text)}"></iframe>'
        )
    path = folder / "outer.html"
    path.write_text(outer, encoding="utf-8")
    result = _shown(path.as_uri(), folder / "profile")
    log = result.stderr.decode("utf-8", "replace")
    assert "CONSOLE" not in log, [line for line in log.splitlines() if "CONSOLE" in line][:5]
    found = re.search(r'<pre id="said">(.*?)</pre>', result.stdout.decode("utf-8", "replace"), re.DOTALL)
    assert found and found[1], f"the browser measured nothing: {log[-2000:]}"
    values: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert set(values) == set(pages)
    return values


def _shown(address: str, profile: Path) -> subprocess.CompletedProcess[bytes]:
    """Return what a page is in the end, as HTML, and what the browser said meanwhile."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--window-size=1400,900", "--virtual-time-budget=20000", "--enable-logging=stderr",
        f"--user-data-dir={profile}", "--dump-dom", address,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, timeout=120, check=False)


@cache
def _runs() -> bool:
    """Whether the browser shows anything: some systems have a program of its name that only says where to get it."""
    with tempfile.TemporaryDirectory() as folder:
        return b"<p>here</p>" in _shown("data:text/html,<p>here</p>", Path(folder)).stdout

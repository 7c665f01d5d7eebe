"""Questions to a headless Chromium that shows a page. Nothing to install but the browser."""

import html
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 120  # seconds until a browser that says nothing is ended
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=60000"]
NOTING = """<script>
  const problems = [], note = (...what) => problems.push(what.map(String).join(' '));
  console.error = console.warn = console.assert = note;
  requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 1);  // no frames in virtual time
  addEventListener('error', ({error, target}) => { if (error || target.src) note(error, target.src); }, true);
  addEventListener('unhandledrejection', (event) => note(event.reason));
</script>"""
HOST = """<!doctype html><script>
onload = async () => {
  const frame = document.body.appendChild(document.createElement('iframe'));
  frame.style = 'width: 1000px; height: 900px; border: 0';
  const loaded = new Promise((done) => { frame.onload = done; });
  frame.srcdoc = %s;
  await loaded;
  const answers = [];
  for (const question of %s) {
    if (typeof question === 'number') frame.style.width = question + 'px';
    const answer = typeof question === 'number' ? undefined : frame.contentWindow.eval(question);
    if (answer !== undefined) answers.push(answer);
    await new Promise((done) => setTimeout(done, 50));  // in which the page draws itself
  }
  document.body.textContent = JSON.stringify(answers);
};
</script>"""


def ask(page: str, folder: Path, *questions: str | int) -> list[Any]:
    """The values of JavaScript expressions, asked one after the other of the HTML ``page``; undefined ones are left
    out. A number is no question: from there on the page is so many pixels wide, at first 1,000. ``problems`` there are
    errors, warnings and failed loads. ``folder``: an empty one, to be used. Skips the test where there is no browser.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: looked for {', '.join(NAMES)}")
    told = (
        json.dumps(each).replace("</", "<\\/").replace("<!--", "<\\!--")
        for each in (page.replace("<head>", "<head>" + NOTING, 1), questions)
    )
    folder.mkdir(exist_ok=True)
    (folder / "host.html").write_text(HOST % tuple(told), encoding="utf-8")
    command = [program, *FLAGS, f"--user-data-dir={folder}", "--dump-dom", (folder / "host.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    answers = html.unescape(done.stdout.rpartition("<body>")[2].partition("</body>")[0])
    return json.loads(answers)

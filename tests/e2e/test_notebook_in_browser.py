"""Every notebook in JupyterLab in headless Chromium: opened by `tito start`, all cells run, plots on the screen.

Needs chromium and chromedriver (Debian: `apt install chromium chromium-driver`) and, beside the course, JupyterLab and
selenium: `pip install -e ".[notebook]" selenium`. Pictures of what was seen stay in pytest's temporary folder.

A student's edition gets the reference in place of its stubs. `tito start` opens the first unfinished notebook; when it
has run and is saved, its exercises are tested, and so the next `tito start` opens the next one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from matplotlib import image

from tito import processes
from tito.course.module import Module, Notebook
from tito.course.project import Project

from .chromium import browser
from .commands import released, tito

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PATIENCE = 300.0  # seconds for a whole notebook
# What the page is asked: `lab` is JupyterLab's application, `book` the open notebook.
ASK = """
const lab = window.jupyterapp, panel = lab && lab.shell.currentWidget, book = panel && panel.content;
const outputs = cell => cell.model.outputs ? cell.model.outputs.toJSON() : [];
const holding = kind => book.widgets.flatMap((c, i) => outputs(c).some(o => o.data && o.data[kind]) ? [i] : []);
const seen = () => {
  for (const e of panel.node.querySelectorAll('.jp-OutputArea-output img')) {
    e.scrollIntoView({block: 'center'});
    const r = e.getBoundingClientRect();
    if (e.naturalWidth > 100 && r.top >= 0 && r.bottom <= innerHeight) return [r.left, r.top, r.right, r.bottom];
  }
};
return """
READY = "!!(book && book.widgets && book.widgets.length > 5 && panel.sessionContext.session?.kernel?.status === 'idle')"
RUN_ALL = "lab.commands.execute('notebook:run-all-cells').then(() => { window.ranAll = true; }) && true"
ERRORS = "book.widgets.flatMap(outputs).filter(o => o.output_type === 'error').map(o => o.evalue)"
PICTURES = "holding('image/png')"
SLIDERS = "holding('application/vnd.jupyter.widget-view+json')"
SAVE = "lab.commands.execute('docmanager:save').then(() => { window.saved = true; }) && true"
GO = "(book.activeCellIndex = {0}, book.scrollToItem({0}, 'start'), true)"


@contextmanager
def lab(folder: Path, module: str) -> Iterator[str]:
    """JupyterLab as `tito start` opens it; gives the notebook's address."""
    options = ["--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True", "--ServerApp.port_retries=50"]
    env = os.environ | {"PYTHONPATH": str(folder)}
    with processes.python(
        ["-m", "tito", "--project", str(folder), "start", module, *options], env, stderr=subprocess.PIPE
    ) as process:
        found, lines = threading.Event(), list[str]()

        def read() -> None:
            for line in process.stderr or ():
                lines.append(line.decode("utf-8", "replace"))
                if re.search(r"http://localhost:\d+/lab/tree/\S+", lines[-1]):
                    found.set()

        threading.Thread(target=read, daemon=True).start()
        if not found.wait(60):
            pytest.fail(f"JupyterLab did not start:\n{''.join(lines)[-3000:]}")
        try:
            yield next(match[0] for line in lines if (match := re.search(r"http://localhost:\d+/lab/tree/\S+", line)))
        finally:
            processes.end(process, patience=20)  # asked, JupyterLab ends its kernels too


def wait(driver: Chrome, what: str, question: str, patience: float = 60.0) -> Any:
    """Ask the page until it says yes."""
    until, problem = time.monotonic() + patience, None
    while time.monotonic() < until:
        try:
            if answer := driver.execute_script(ASK + question):
                return answer
        except Exception as error:
            problem = error
        time.sleep(0.2)
    picture = Path(tempfile.gettempdir(), "notebook_problem.png")
    driver.save_screenshot(str(picture))
    pytest.fail(f"{what}: not after {patience:g} seconds; see {picture} ({problem or 'the page said no'})")


def run_all(driver: Chrome, entry: Notebook) -> None:
    """Run every cell of the open notebook, and save it."""
    wait(driver, "the notebook is open, its kernel idle", READY, 120)
    title, count = (driver.execute_script(ASK + question) for question in ("panel.title.label", "book.widgets.length"))
    assert title == entry.path.with_suffix(".ipynb").name, f"tito start should open {entry.path.stem}"
    begun = time.monotonic()
    driver.execute_script(ASK + RUN_ALL)
    wait(driver, "every cell has run", "window.ranAll === true", PATIENCE)
    errors, pictures = driver.execute_script(ASK + ERRORS), driver.execute_script(ASK + PICTURES)
    print(f"{title}: {count} cells, {len(pictures)} with plots, {len(errors)} errors, {time.monotonic() - begun:.0f} s")
    assert pictures and not errors
    driver.execute_script(ASK + SAVE)
    wait(driver, "the notebook is saved", "window.saved === true")


def look(driver: Chrome, name: str, pictures: Path) -> None:
    """A plot must be on the screen, and sliders where the notebook has them."""
    driver.execute_script(ASK + GO.format(driver.execute_script(ASK + PICTURES)[0]))
    left, top, right, bottom = (int(v) for v in wait(driver, "a plot is on the screen", "seen()"))
    shot = pictures / f"{name}.png"
    driver.save_screenshot(str(shot))
    pixels = image.imread(shot)[top:bottom, left:right, :3]
    print(f"  on the screen: a plot of {right - left} x {bottom - top}, contrast {pixels.std():.2f}")
    assert pixels.std() >= 0.05, "the plot is blank"
    for sliders in driver.execute_script(ASK + SLIDERS)[:1]:
        driver.execute_script(ASK + GO.format(sliders))
        count = wait(driver, "sliders are on the screen", "panel.node.querySelectorAll('.widget-slider').length")
        driver.save_screenshot(str(pictures / f"{name}_sliders.png"))
        print(f"  on the screen: {count} sliders")


@pytest.mark.browser
def test_every_notebook_runs_in_jupyterlab_and_shows_its_plots(here: Project, module: Module, tmp_path: Path) -> None:
    folder = released(here, module, tmp_path / "lab ü" / "class").root
    for entry in module.notebooks:  # the reference in place of the stubs: what a student has at the end
        shutil.copy(entry.path, folder / entry.path.relative_to(here.root))
    with browser() as driver:
        for entry in module.notebooks:
            with lab(folder, module.name) as address:
                driver.get(address)
                run_all(driver, entry)
                look(driver, entry.path.stem, tmp_path)
                driver.get("about:blank")
            chosen = [part for exercise in entry.exercises for part in ("--exercise", exercise.id)]
            told = tito(Project(folder), "test", module.name, *chosen)  # refuses forms that disagree
            print(f"  tito test: {told.strip().splitlines()[-1]}", flush=True)

"""Build the site: `python -m website` writes build/site/html, whose index.html any browser opens, without a server.

Needs the extra [site]. The notebooks are run, which takes a minute or two; `--without-lessons` leaves them out.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tito.course.project import Project
from tito.releasing import release
from website import links
from website.lessons import write_lesson

ROOT = Path(__file__).parent.parent
PAGES, HTML = ROOT / "build" / "site" / "pages", ROOT / "build" / "site" / "html"
COURSE = Path("modules", "source", "17_quantization")
PACKAGES = ("quantization", "acceleration", "deployment", "core")
NAMED = re.compile(r"(?<!\[)`(docs/\w+\.md)`(?!\])")


def copy_pages() -> None:
    """README, docs and ABOUT, in the folders that they have here, so that their links hold; and the API."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES / "docs", ignore=shutil.ignore_patterns("data"))
    (PAGES / COURSE).mkdir(parents=True)
    (PAGES / "api").mkdir()
    for name in ("README.md", "CONTRIBUTING.md", COURSE / "ABOUT.md"):
        shutil.copy(ROOT / name, PAGES / name)
    (PAGES / "assets").mkdir()
    for name in ("site.css", "iframe-worker.js"):
        shutil.copy(ROOT / "website" / name, PAGES / "assets")
    for page in PAGES.rglob("*.md"):
        page.write_text(for_the_site(page.read_text(encoding="utf-8"), page.parent), encoding="utf-8")
    for name in PACKAGES:
        (PAGES / "api" / f"{name}.md").write_text(api(f"tinytorch.{name}"), encoding="utf-8")


def for_the_site(text: str, folder: Path) -> str:
    """A page's text for Python-Markdown, which begins a list after an empty line only; named pages become links."""
    up = "../" * len(folder.relative_to(PAGES).parts)
    lines, in_code = list[str](), False
    for line in text.split("\n"):
        in_code ^= line.lstrip().startswith("```")
        item = re.match(r"(-|\d+\.) ", line)
        before = lines[-1] if lines else ""
        if item and not in_code and before.strip() and not re.match(r"(-|\d+\.) |\s", before):
            lines.append("")
        lines.append(line if in_code else NAMED.sub(lambda found: f"[{found[0]}]({up}{found[1]})", line))
    return "\n".join(lines)


def api(package: str) -> str:
    """A page of all that a package offers: its docstring as it stands, then each name."""
    module = importlib.import_module(package)
    told = (module.__doc__ or "").strip()
    offered = [getattr(module, name) for name in sorted(module.__all__, key=str.lower)]
    paths = [
        f"{each.__module__}.{each.__qualname__}" for each in offered if inspect.isroutine(each) or inspect.isclass(each)
    ]
    return f"# {package}\n\n````text\n{told}\n````\n\n" + "\n".join(f"::: {path}\n" for path in paths)


def write_lessons() -> None:
    folder = PAGES / "lessons"
    folder.mkdir()
    sources = sorted((ROOT / COURSE).glob("*_dev.py"))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda source: write_lesson(source, folder), sources))
    for page in folder.glob("*.md"):
        page.write_text(for_the_site(page.read_text(encoding="utf-8"), folder), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m website", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--without-lessons", action="store_true", help="keep the lessons of the last build")
    args = parser.parse_args(argv)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["PYTHONPATH"] = str(ROOT)  # for the kernels that run notebooks, and for MkDocs
    kept = ROOT / "build" / "site" / "lessons"
    copy_pages()
    if args.without_lessons:
        shutil.copytree(kept, PAGES / "lessons")
    else:
        write_lessons()
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(PAGES / "lessons", kept)
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(ROOT / "website" / "mkdocs.yml")]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    project = Project(ROOT)
    shown = {page.relative_to(HTML).as_posix(): links.text(page).encode() for page in HTML.rglob("*.html")}
    release.refuse_leaks(project, shown)
    wrong = links.wrong(HTML)
    print(*wrong, f"{HTML / 'index.html'}: {len(shown)} pages, {len(wrong)} broken links", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

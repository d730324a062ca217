"""Changes of files: what editors, version control, browsers, operating systems and LMSs do.

Of the file in the student's course ("bytes"), of what is handed in ("handed"), of what the instructor gets ("lms").
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import PurePosixPath

from .kinds import Context, File, Files, costly, harmless
from .page import Page, through_jupytext

# --- a page's form ---


@harmless("cells", weight=4.0)
def paired(c: Context, page: Page) -> None:
    """JupyterLab with jupytext: every save writes both forms."""
    c.paired, page.suffix = True, ".ipynb"


@harmless("cells", weight=2.0)
def written_by_jupytext(c: Context, page: Page) -> None:
    """jupytext --to py:percent: magics are comments in the .py."""
    page.by_jupytext = True


@harmless("cells")
def no_header(c: Context, page: Page) -> None:
    """A .py whose header was deleted."""
    page.header = ""


@harmless("cells")
def header_of_another_version(c: Context, page: Page) -> None:
    """jupytext writes its version and other settings into the header."""
    page.header = page.header.replace(
        "'1.3'\n", "'1.3'\n#       jupytext_version: 1.99.0\n#     formats: ipynb,py:percent\n"
    )


@harmless("cells")
def numbered_cells(c: Context, page: Page) -> None:
    """jupyter nbconvert --to script: cells begin with `# In[ ]:`."""
    if all(cell.kind == "code" for cell in page.cells):
        page.marker = c.rng.choice(["# In[ ]:", "# In[12]:"])
        page.header = "#!/usr/bin/env python\n# coding: utf-8\n"


@harmless("cells")
def tight_markers(c: Context, page: Page) -> None:
    """Spyder: `#%%`."""
    page.marker = "#%%"


@harmless("cells")
def titled_markers(c: Context, page: Page) -> None:
    """VS Code and Spyder: a cell with a title, or with metadata."""
    if all(cell.kind == "code" for cell in page.cells):
        page.marker = c.rng.choice(["# %% my cell", '# %% {"tags": ["x"]}', '# %% a "title" {"a": 1}'])


# --- bytes ---


@harmless("bytes")
def crlf(c: Context, data: bytes, suffix: str) -> bytes:
    """Windows, git with autocrlf: CR LF."""
    return data.replace(b"\n", b"\r\n")


@harmless("bytes")
def bom(c: Context, data: bytes, suffix: str) -> bytes:
    """Notepad: a byte order mark."""
    return b"\xef\xbb\xbf" + data


@harmless("bytes", weight=0.5)
def cr_only(c: Context, data: bytes, suffix: str) -> bytes:
    """A program that thinks it is on an old Mac: CR alone."""
    return data.replace(b"\n", b"\r")


@harmless("bytes")
def no_final_newline(c: Context, data: bytes, suffix: str) -> bytes:
    """An editor that writes no newline at the end."""
    return data.rstrip(b"\n")


@harmless("bytes")
def final_newlines(c: Context, data: bytes, suffix: str) -> bytes:
    """Blank lines at the end."""
    return data + b"\n" * c.rng.randint(1, 9)


@harmless("bytes")
def json_otherwise(c: Context, data: bytes, suffix: str) -> bytes:
    """Another program's JSON: on one line, sorted, indented by four, letters as they are."""
    if suffix == ".py":
        return data
    indent, ascii_only = c.rng.choice([None, 4]), c.rng.random() < 0.5
    text = json.dumps(json.loads(data), indent=indent, sort_keys=True, ensure_ascii=ascii_only)
    return text.encode("utf-8", "replace")


@harmless("bytes")
def source_as_one_string(c: Context, data: bytes, suffix: str) -> bytes:
    """nbformat allows a cell's text as one string; some tools write it so."""
    if suffix == ".py":
        return data
    page = json.loads(data)
    for cell in page["cells"]:
        cell["source"] = "".join(cell["source"])
    return json.dumps(page).encode()


@costly("bytes", weight=0.5)
def utf16(c: Context, data: bytes, suffix: str) -> bytes:
    """PowerShell's `>`: UTF-16."""
    c.costs("*")
    return data.decode("utf-8", "replace").encode("utf-16")


@costly("bytes", weight=0.5)
def latin1(c: Context, data: bytes, suffix: str) -> bytes:
    """An old editor: one letter that is not UTF-8."""
    c.costs("*")
    return data.replace(b"look again", b"l\xf6k again")


@costly("bytes", weight=0.5)
def conflict(c: Context, data: bytes, suffix: str) -> bytes:
    """git: the marks of a merge conflict."""
    c.costs("*")
    lines = data.split(b"\n")
    at = c.rng.randrange(len(lines) // 2, len(lines))
    return b"\n".join(
        [*lines[:at], b"<<<<<<< HEAD", lines[at], b"=======", lines[at], b">>>>>>> mine", *lines[at + 1 :]]
    )


@costly("bytes", weight=0.5)
def cut_off(c: Context, data: bytes, suffix: str) -> bytes:
    """A full disk, a broken upload: the file ends in the middle."""
    c.costs("*")
    return data[: int(len(data) * c.rng.choice([0.0, 0.5, 0.9]))]


@costly("bytes", weight=0.5)
def light_format(c: Context, data: bytes, suffix: str) -> bytes:
    """jupytext's light format: cells without markers."""
    if suffix != ".py":
        return data
    c.costs("*")
    return through_jupytext(data.decode("utf-8", "replace"), "py:light").encode()


# --- what is handed in ---


def _renamed(files: Files, pattern: str) -> Files:
    """pattern: `*` stands for the file's stem."""
    named = ((PurePosixPath(name), file) for name, file in files.items())
    return {path.with_name(pattern.replace("*", path.stem) + path.suffix).as_posix(): file for path, file in named}


@harmless("handed")
def downloaded_twice(c: Context, files: Files) -> Files:
    """A browser: `name (1).ipynb`; macOS: `name 2.ipynb`; JupyterLab: `name-Copy1.ipynb`."""
    return _renamed(files, c.rng.choice(["* (%d)", "* %d", "*-Copy%d", "*(%d)", "*_%d"]) % c.rng.randint(1, 12))


@harmless("handed")
def upper_case_suffix(c: Context, files: Files) -> Files:
    """A program that knows capital letters only: `.IPYNB`, `.PY`."""
    named = ((PurePosixPath(name), file) for name, file in files.items())
    return {path.with_suffix(path.suffix.upper()).as_posix(): file for path, file in named}


@harmless("handed")
def own_name_in_front(c: Context, files: Files) -> Files:
    """A student who puts their name before or behind the file's."""
    return _renamed(files, c.rng.choice(["Ada_*", "*_Ada", "Ada Lovelace - *", "é *", "*.final", "* - Kopie"]))


@harmless("handed")
def another_name(c: Context, files: Files) -> Files:
    """A student who calls it homework."""
    return {f"homework {number}{PurePosixPath(name).suffix}": files[name] for number, name in enumerate(files)}


@harmless("handed")
def in_a_folder(c: Context, files: Files) -> Files:
    """The folder that they worked in."""
    folder = c.rng.choice(["work", "my work", "Übung 1", "modules/source/01_averages", "a/b/c", "作業"])
    return {f"{folder}/{name}": file for name, file in files.items()}


def _zip(files: Files, backslashes: bool = False) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 20, 23 - min(file.hours, 23), 0, 0))
            if backslashes:
                info.filename = name.replace("/", "\\")
            archive.writestr(info, file.data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


@harmless("handed")
def zipped(c: Context, files: Files) -> Files:
    """Send to, compressed folder; some do it twice."""
    for _ in range(c.rng.choice([1, 1, 2])):
        files = {f"{c.rng.choice(['work', 'Archive', 'means_dev', 'hw 1'])}.zip": File(_zip(files))}
    return files


@harmless("handed")
def zipped_on_old_windows(c: Context, files: Files) -> Files:
    """Backslashes between folders."""
    return {"work.zip": File(_zip({f"work/{name}": file for name, file in files.items()}, backslashes=True))}


@harmless("handed")
def zipped_on_macos(c: Context, files: Files) -> Files:
    """macOS: a second file of every file, in __MACOSX."""
    shadows = {f"__MACOSX/._{name}": File(b"\0\5\26\7\0\2\0\0Mac OS X") for name in files}
    return {"work.zip": File(_zip(files | shadows | {".DS_Store": File(b"\0\0\0\1Bud1")}))}


@harmless("handed")
def checkpoints_beside(c: Context, files: Files) -> Files:
    """Jupyter's .ipynb_checkpoints, older."""
    old = {f".ipynb_checkpoints/{page.stem}-checkpoint.ipynb": _given(page, ".ipynb", 30) for page in c.stubs.values()}
    return files | old


@harmless("handed")
def stub_beside(c: Context, files: Files) -> Files:
    """The notebook as it was given, in the other form, beside the one that was worked on."""
    return files | {
        f"{page.stem}{suffix}": _given(page, suffix, 500)
        for page in c.stubs.values()
        for suffix in (".py", ".ipynb")
        if f"{page.stem}{suffix}" not in files
    }


@harmless("handed")
def copy_beside(c: Context, files: Files) -> Files:
    """An older copy in a folder that comes first by name, with one exercise less."""
    older = {}
    for name, file in files.items():
        if name.endswith((".py", ".ipynb")) and file.data:
            older[f"{c.rng.choice(['a_backup', 'old', 'z'])}/{name}"] = File(file.data, file.hours + 50)
    return older | files


@harmless("handed")
def other_files_beside(c: Context, files: Files) -> Files:
    """Data, pictures, a PDF, an HTML export, a helper script."""
    return files | {
        "data.csv": File(b"a,b\n1,2\n"),
        "report.pdf": File(b"%PDF-1.4\n\0\1\2"),
        "means_dev.html": File(b"<html>means_dev</html>"),
        "utils.py": File(b"def help_me():\n    return 1\n"),
        "requirements.txt": File(b"numpy\n"),
        "__pycache__/means_dev.cpython-312.pyc": File(b"\0\1\2"),
    }


@harmless("handed")
def both_forms(c: Context, files: Files) -> Files:
    """The .py that jupytext keeps beside the .ipynb, saved at the same moment."""
    pages = [(name, file) for name, file in files.items() if name.endswith(".ipynb") and file.data[:1] == b"{"]
    twins = {}
    for name, file in pages:
        try:
            import jupytext

            text = jupytext.writes(jupytext.reads(file.data.decode("utf-8"), fmt="ipynb"), fmt="py:percent")
            twins[name.removesuffix(".ipynb") + ".py"] = File(text.encode("utf-8"), file.hours)
        except Exception:
            continue  # a file that jupytext cannot read has no twin
    return files | twins


@costly("handed")
def suffix_of_the_browser(c: Context, files: Files) -> Files:
    """Safari, Firefox: `.ipynb.json`, `.ipynb.txt`, `.py.txt`."""
    c.costs("*")
    return {
        f"{name}{'.txt' if name.endswith('.py') else c.rng.choice(['.json', '.txt'])}": file
        for name, file in files.items()
    }


@costly("handed", weight=0.5)
def another_archive(c: Context, files: Files) -> Files:
    """A .rar, .7z or .tar.gz."""
    c.costs("*")
    return {f"work{c.rng.choice(['.rar', '.7z', '.tar.gz'])}": File(b"Rar!\x1a\7\0" + b"x" * 99)}


@costly("handed")
def one_missing(c: Context, files: Files) -> Files:
    """One of the notebooks forgotten."""
    name = c.rng.choice(list(files))
    c.costs("*")
    return {other: file for other, file in files.items() if other != name}


@costly("handed", weight=0.5)
def as_markdown(c: Context, files: Files) -> Files:
    """Quarto, R Markdown or MyST: a notebook as .qmd, .Rmd or .md."""
    c.costs("*")
    suffix = c.rng.choice([".qmd", ".Rmd", ".md"])
    return {f"{PurePosixPath(name).stem}{suffix}": File(b"```{python}\nx = 1\n```\n") for name in files}


def _given(page: Page, suffix: str, hours: int) -> File:
    written = Page(page.stem, page.cells, suffix)
    return File(written.file(), hours)


# --- what the instructor gets ---


@harmless("lms")
def canvas(c: Context, files: Files) -> Files:
    """Canvas' bulk download: every file at the top, with the student's name and numbers in front."""
    who = c.rng.choice(["lovelaceada_", "lovelaceada_LATE_"])
    return {f"{who}123_{900 + number}_{PurePosixPath(name).name}": files[name] for number, name in enumerate(files)}


@harmless("lms")
def moodle(c: Context, files: Files) -> Files:
    """Moodle's download: a folder a student."""
    return {f"Ada Lovelace_4711_assignsubmission_file_/{name}": file for name, file in files.items()}


@harmless("lms")
def nbgraders_tree(c: Context, files: Files) -> Files:
    """nbgrader's exchange: submitted/STUDENT/MODULE."""
    return {f"submitted/ada/01_averages/{name}": file for name, file in files.items()}


@harmless("lms")
def class_in_one_zip(c: Context, files: Files) -> Files:
    """An LMS that gives one zip of the class."""
    return {"submissions.zip": File(_zip({f"ada/{name}": file for name, file in files.items()}))}

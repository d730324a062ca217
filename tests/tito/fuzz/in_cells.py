"""Changes of a notebook's cells: what people do in JupyterLab, VS Code, Colab and with formatters.

Each takes the context and the page, and changes the page.
"""

from __future__ import annotations

import re

from .kinds import Context, costly, harmless
from .page import Cell, Page, a_plot, functions

ALL_CELLS = "nbgrader runs every code cell, with or without a directive, as Jupyter does"
LAST_COUNTS = "A test cell judges what the notebook holds when it runs: of two definitions the last, in whatever cell."

GOES_ON = "a cell that raises has defined what stands above, and `await` may stand anywhere"
KERNEL_ENDED = "nbgrader gives up on a submission in which a cell ends the kernel, as `os._exit` does"
NAMED_TWICE = "A cell that was pasted twice has its name twice, and nbgrader stops there"

# --- what a notebook carries beside its code ---


@harmless("cells")
def run_all(c: Context, page: Page) -> None:
    """JupyterLab, Run All Cells: execution counts, and a short output everywhere."""
    for number, cell in enumerate(page.cells, 1):
        if cell.kind == "code":
            cell.count = number
            cell.outputs = [{"name": "stdout", "output_type": "stream", "text": [f"{c.rng.random()}\n"]}]


@harmless("cells", weight=0.4)
def printed_megabytes(c: Context, page: Page) -> None:
    """A student who printed every number: one output of megabytes."""
    text = [f"{i} {c.rng.random()}\n" for i in range(c.rng.choice([20_000, 100_000, 400_000]))]
    page.cells.append(
        Cell("code", "1 + 1", outputs=[{"name": "stdout", "output_type": "stream", "text": text}], count=9)
    )


@harmless("cells", weight=0.4)
def interactive_plot(c: Context, page: Page) -> None:
    """plotly or bokeh: all the points as numbers in the output's JSON."""
    points = [c.rng.random() for _ in range(c.rng.choice([10_000, 300_000]))]
    output = {"data": {"application/vnd.plotly.v1+json": {"data": [{"y": points}]}}, "metadata": {}}
    page.cells.append(Cell("code", "2 + 2", outputs=[output | {"output_type": "display_data"}], count=3))


@harmless("cells")
def plots(c: Context, page: Page) -> None:
    """matplotlib: pictures in the outputs."""
    for _ in range(c.rng.randint(1, 4)):
        page.cells.append(Cell("code", "None", outputs=[a_plot(c.rng, 40_000)], count=c.rng.randint(1, 99)))


@harmless("cells")
def traceback_output(c: Context, page: Page) -> None:
    """A cell that failed before it was mended: the coloured traceback stays in the file."""
    page.some_exercise(c.rng).outputs = [
        {"ename": "E", "evalue": "no", "output_type": "error", "traceback": ["\x1b[0;31mE\x1b[0m: no"]}
    ]


@harmless("cells")
def half_a_surrogate_in_an_output(c: Context, page: Page) -> None:
    """JavaScript cut an emoji in two: the output holds half a surrogate pair, escaped."""
    page.cells.append(Cell("code", "3", outputs=[{"name": "stdout", "output_type": "stream", "text": ["\ud83d\n"]}]))


@harmless("cells")
def widgets_state(c: Context, page: Page) -> None:
    """ipywidgets: Save Notebook Widget State."""
    state = {"a1": {"model_module": "@jupyter-widgets/base", "model_name": "LayoutModel", "state": {"w": 1}}}
    page.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"state": state, "version_major": 2, "version_minor": 0}
    }


@harmless("cells")
def colab(c: Context, page: Page) -> None:
    """Google Colab: nbformat 4.0, its own metadata, ids in the metadata, another kernel's name."""
    page.minor = 0
    page.metadata |= {"colab": {"provenance": [], "toc_visible": True}, "accelerator": "GPU"}
    page.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    for number, cell in enumerate(page.cells):
        cell.metadata |= {"id": f"x{number}Qz", "colab": {"base_uri": "https://localhost:8080/", "height": 1}}


@harmless("cells")
def vscode(c: Context, page: Page) -> None:
    """VS Code: a language for every cell, and language_info without a version."""
    page.metadata["language_info"] = {"name": "python"}
    for cell in page.cells:
        cell.metadata["vscode"] = {"languageId": "python"}


@harmless("cells")
def tags(c: Context, page: Page) -> None:
    """JupyterLab's property inspector: tags, collapsed and scrolled cells, slides."""
    for cell in page.cells:
        cell.metadata |= {"tags": ["hide-input"], "jupyter": {"source_hidden": True}, "collapsed": False}
        cell.metadata["slideshow"] = {"slide_type": "slide"}


@harmless("cells")
def not_deletable(c: Context, page: Page) -> None:
    """An instructor's extension: cells that cannot be deleted or edited."""
    for cell in page.cells:
        cell.metadata |= {"deletable": False, "editable": False}


@harmless("cells")
def nbgraders_names(c: Context, page: Page) -> None:
    """The course's notebook of nbgrader, worked on in the student's edition."""
    for cell in page.cells:
        if cell.grade_id:
            cell.metadata["nbgrader"] = {"grade_id": cell.grade_id, "solution": True, "schema_version": 3}


@harmless("cells")
def no_ids(c: Context, page: Page) -> None:
    """nbstripout, or a script of 2020: nbformat 4.5 promised, and no cell has an id."""
    page.minor = c.rng.randint(0, 4)


@harmless("cells")
def same_ids(c: Context, page: Page) -> None:
    """Cells pasted by a tool: two of one id."""
    for cell in page.cells:
        cell.id = c.rng.choice(["abc", "def"])


@harmless("cells")
def attachment(c: Context, page: Page) -> None:
    """A screenshot dragged into a text cell."""
    page.cells.insert(page.anywhere(c.rng), Cell("markdown", "![a](attachment:a.png)"))


@harmless("cells")
def kernel_of_conda(c: Context, page: Page) -> None:
    """Anaconda: a kernel that nobody else has."""
    page.metadata["kernelspec"] = {"display_name": "Python [conda env:ml]", "language": "python", "name": "conda-ml"}
    page.header = page.header.replace("name: python3", "name: conda-env-ml-py").replace("Python 3", "Python [conda]")


# --- cells of no exercise ---

SCRATCH = ["x = 1 + 1\nx", "import math\nmath.pi", "for i in range(3):\n    print(i)", "def try_it():\n    return 1"]
MAGICS = ["%timeit -n1 -r1 sum([1])", "!echo hello", "%matplotlib inline\nx = 1", "!echo {1 + 1}", "%pwd", "%who"]
ASKED = ["len?", "len??", "?len", "??len", "str.join?", "print(1)\nlen?"]
KEPT = ["names = !ls", "t = %timeit -o -n1 -r1 sum([1])", "here = %pwd", "a, b = 1, 2\nout = !echo $a"]
CELL_MAGICS = ["%%time\nx = 3", "%%bash\necho hello\nls", "%%timeit -n1 -r1\nsum([1])", "%%capture\nprint(1)"]
CELL_MAGICS += ["%%html\n<b>no</b>", "%%javascript\nalert('no')", "%%latex\n$x$", "%%writefile /dev/null\nx = ("]
AUTOMAGIC = ["ls", "pwd", "cd .", "cd ..\ncd -", "whos", "pip --version"]
COMMENTS = [
    "# !pip install x",
    "# %timeit f()",
    "#!ls",
    "#%%time",
    "# len?",
    "#% x",
    "# %%\n# ls",
    "#| not a directive",
]
BROKEN = [
    "x = (",
    "def f(:\n    pass",
    "  y = 1\n x = 2",
    "print 'hello'",
    "1 +",
    "'''never closed",
    "x = 5 %",
    "return 5",
]
JUPYTER_ONLY = re.compile(r"^\s*[%!?]|[?!]|\bawait\b|^(ls|pwd|cd|pip|whos)\b", re.M)
FAILING = [
    "raise KeyboardInterrupt",
    "1 / 0",
    "undefined_name",
    "import no_such_module",
    "assert False, 'not yet'",
    "raise ValueError",
    "[][1]",
]


def _scratch(c: Context, page: Page, sources: list[str]) -> None:
    page.cells.insert(page.anywhere(c.rng), Cell("code", c.rng.choice(sources)))


@harmless("cells")
def scratch(c: Context, page: Page) -> None:
    """Everybody: a cell to try something."""
    _scratch(c, page, SCRATCH)


@harmless("cells")
def scratch_magic(c: Context, page: Page) -> None:
    """Everybody: a line magic, a shell command."""
    _scratch(c, page, MAGICS)


@harmless("cells")
def scratch_help(c: Context, page: Page) -> None:
    """Everybody: a question mark behind a name."""
    _scratch(c, page, ASKED)


@harmless("cells")
def scratch_kept_magic(c: Context, page: Page) -> None:
    """A magic or a shell command whose result gets a name."""
    _scratch(c, page, KEPT)


@harmless("cells")
def scratch_cell_magic(c: Context, page: Page) -> None:
    """%%time and its like at the top of a cell."""
    _scratch(c, page, CELL_MAGICS)


@harmless("cells")
def scratch_automagic(c: Context, page: Page) -> None:
    """IPython runs `ls` without a percent sign."""
    _scratch(c, page, AUTOMAGIC)


@harmless("cells")
def scratch_over_two_lines(c: Context, page: Page) -> None:
    """A long shell command, continued by a backslash."""
    _scratch(c, page, ["!echo a \\\n  b", "%timeit -n1 \\\n  -r1 sum([1])", "files = !echo a \\\n  b"])


@harmless("cells")
def scratch_comment(c: Context, page: Page) -> None:
    """A command that was commented out, and a comment that looks like one."""
    _scratch(c, page, COMMENTS)


@harmless("cells")
def scratch_does_not_parse(c: Context, page: Page) -> None:
    """A thought that was broken off: the cell is no Python at all."""
    _scratch(c, page, BROKEN)


@harmless("cells")
def scratch_fails(c: Context, page: Page) -> None:
    """A cell that raises, and was left."""
    _scratch(c, page, FAILING)


@harmless("cells")
def scratch_awaits(c: Context, page: Page) -> None:
    """IPython awaits at top level."""
    _scratch(c, page, ["import asyncio\nawait asyncio.sleep(0)"])


@harmless("cells")
def scratch_tries_the_exercise(c: Context, page: Page) -> None:
    """A cell that calls what was written, and prints a lot."""
    names = [name for cell in page.cells if cell.exercise for name in functions(cell.source)]
    page.cells.append(Cell("code", f"print({c.rng.choice(names)})\nprint('x' * 10_000)"))


@costly("cells")
def scratch_imports_the_package(c: Context, page: Page) -> None:
    """A student who compares: the notebook imports what it exports."""
    exercise = c.rng.choice(page.exercises)
    names = functions("\n".join(cell.source for cell in page.of(exercise)))
    if names:
        module = f"averages.{page.stem.removesuffix('_dev')}"
        page.cells.append(Cell("code", f"from {module} import {names[0]}"))
        c.costs(*page.exercises)


@costly("cells", in_nbgrader=LAST_COUNTS)
def old_attempt_below(c: Context, page: Page) -> None:
    """An older version of the function, kept in a cell of its own below."""
    cell = page.some_exercise(c.rng)
    page.cells.append(Cell("code", re.sub(r"^(    )(?=\S)", r"\1return None\n\1", cell.code, count=1, flags=re.M)))
    c.costs(cell.exercise)


@harmless("cells")
def empty_cells(c: Context, page: Page) -> None:
    """JupyterLab leaves an empty cell below; some leave five."""
    page.cells += [Cell("code", "") for _ in range(c.rng.randint(1, 5))]


@harmless("cells")
def notes(c: Context, page: Page) -> None:
    """Notes in a text cell, in any script, with what looks like code."""
    texts = [
        "# 次の問題 🎉",
        "## My notes\n```python\nx = 1\n```",
        "#| export\n#| exercise: mean",
        "---\na: 1\n---",
        "%%",
    ]
    page.cells.insert(page.anywhere(c.rng), Cell("markdown", c.rng.choice(texts)))


@harmless("cells")
def raw_cell(c: Context, page: Page) -> None:
    """A cell turned to raw, so that it does not run."""
    page.cells.insert(page.anywhere(c.rng), Cell("raw", "def mean(x):\n    return 0"))


@harmless("cells")
def text_removed(c: Context, page: Page) -> None:
    """All explanations deleted, to have room."""
    page.cells = [cell for cell in page.cells if cell.kind == "code"]


@harmless("cells")
def checks_removed(c: Context, page: Page) -> None:
    """The cells below the exercises deleted."""
    page.cells = [cell for cell in page.cells if cell.kind != "code" or cell.head]


@harmless("cells")
def text_between_made_code(c: Context, page: Page) -> None:
    """Escape, then y by mistake: a text cell has become code."""
    cells = [cell for cell in page.cells if cell.kind == "markdown"]
    if cells:
        c.rng.choice(cells).kind = "code"


# --- inside an exercise's cell, and right ---


def _prepend(cell: Cell, text: str) -> None:
    cell.source = f"{cell.head}{text}\n{cell.code}"


@harmless("cells")
def helper_inside(c: Context, page: Page) -> None:
    """A helper function above, in the exercise's own cell."""
    _prepend(page.some_exercise(c.rng), f"def _help_{c.rng.randint(0, 2)}(x):\n    return x\n\n")


@harmless("cells")
def import_on_top(c: Context, page: Page) -> None:
    """An import at the top of the exercise's cell."""
    _prepend(page.some_exercise(c.rng), c.rng.choice(["import math", "from functools import reduce", "import numpy"]))


@harmless("cells")
def import_inside(c: Context, page: Page) -> None:
    """An import inside the function."""
    cell = page.some_exercise(c.rng)
    cell.source = re.sub(r'("""\n)( +)(?=\S)', r"\1\2import math\n\2", cell.source, count=1)


@harmless("cells")
def typing_imported(c: Context, page: Page) -> None:
    """An editor's quick fix: an import for the types, under TYPE_CHECKING."""
    _prepend(page.some_exercise(c.rng), "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas")


@harmless("cells")
def prints_on_top(c: Context, page: Page) -> None:
    """A print at top level of the exercise's cell."""
    page.some_exercise(c.rng).source += "\n\nprint('done', 1 + 1)"


@harmless("cells")
def warns(c: Context, page: Page) -> None:
    """A warning on standard error when the cell is loaded."""
    page.some_exercise(c.rng).source += '\n\nimport warnings\nwarnings.warn("old", DeprecationWarning)'


@harmless("cells")
def main_block(c: Context, page: Page) -> None:
    """Habit: `if __name__ == "__main__":` below the function."""
    page.some_exercise(c.rng).source += '\n\nif __name__ == "__main__":\n    print("main")'


@harmless("cells")
def check_inside(c: Context, page: Page) -> None:
    """Asserts below the function, in the exercise's own cell."""
    page.some_exercise(c.rng).source += "\n\nassert 1 + 1 == 2, 'so it is'"


@harmless("cells")
def comments_in_any_script(c: Context, page: Page) -> None:
    """Comments with emoji, Chinese, Arabic, and what is not printed."""
    comment = c.rng.choice(["# 🎉 🧑‍🎓", "# 平均値", "# متوسط", "# a\u200bb\ufeff", "# é e\u0301", "# \u2028 line"])
    cell = page.some_exercise(c.rng)
    cell.source += f"\n{comment}"


@harmless("cells")
def names_in_any_script(c: Context, page: Page) -> None:
    """A helper whose name has an umlaut."""
    _prepend(page.some_exercise(c.rng), "größe_µ = 1  # ſ")


@harmless("cells")
def no_docstring(c: Context, page: Page) -> None:
    """The docstring deleted."""
    cell = page.some_exercise(c.rng)
    cell.source = re.sub(r'^    """.*?"""\n', "", cell.source, count=1, flags=re.M | re.S)


@harmless("cells")
def marker_in_docstring(c: Context, page: Page) -> None:
    """A docstring that quotes a cell's marker."""
    cell = page.some_exercise(c.rng)
    text = c.rng.choice(["# %%", "# In[3]:", "#| export", "# %% [markdown]", "%timeit", "?", "# ---"])
    cell.source = re.sub(r'"""\n', f'\n    Notes:\n{text}\n    """\n', cell.source, count=1)


@harmless("cells")
def solution_markers(c: Context, page: Page) -> None:
    """The markers of a solution kept, or typed again, around the answer."""
    cell = page.some_exercise(c.rng)
    cell.source = re.sub(r'("""\n)', r"\1    ### BEGIN SOLUTION\n", cell.source, count=1)
    if "BEGIN" in cell.source:
        cell.source += "\n    ### END SOLUTION"


@harmless("cells")
def given_comment_kept(c: Context, page: Page) -> None:
    """The line `# YOUR CODE HERE` left above the answer."""
    cell = page.some_exercise(c.rng)
    cell.source = re.sub(r'("""\n)', r"\1    # YOUR CODE HERE\n", cell.source, count=1)


@harmless("cells")
def ruff_format(c: Context, page: Page) -> None:
    """black or ruff on the notebook: a blank behind the `#` of the directives, quotes made double."""
    for cell in page.cells:
        if cell.kind == "code":
            cell.source = re.sub(r"^#\|", "# |", cell.source, flags=re.M)


@harmless("cells")
def directives_tight(c: Context, page: Page) -> None:
    """An editor that takes blanks away: `#|export`, `#|exercise:mean`."""
    for cell in page.cells:
        cell.source = re.sub(r"^#\| (export\b|exercise): ?", r"#|\1:", cell.source, flags=re.M)
        cell.source = re.sub(r"^#\| export$", "#|export", cell.source, flags=re.M)


@harmless("cells")
def directives_swapped(c: Context, page: Page) -> None:
    """The two directive lines in the other order, or with a blank line above or between."""
    cell = page.some_exercise(c.rng)
    lines = cell.head.splitlines()
    new = c.rng.choice(["\n".join(lines[::-1]), "\n\n".join(lines), "\n\n" + "\n".join(lines)])
    cell.source = f"{new}\n{cell.code}"


@harmless("cells")
def trailing_blanks(c: Context, page: Page) -> None:
    """Blanks at the ends of lines, the directives' too."""
    for cell in page.cells:
        cell.source = "\n".join(line + " " * c.rng.randint(0, 3) for line in cell.source.split("\n"))


@harmless("cells")
def tabs(c: Context, page: Page) -> None:
    """An editor that indents with tabs."""
    cell = page.some_exercise(c.rng)
    cell.source = re.sub(r"^( {4})+", lambda m: "\t" * (len(m[0]) // 4), cell.source, flags=re.M)


@harmless("cells")
def two_blanks(c: Context, page: Page) -> None:
    """Colab indents by two."""
    cell = page.some_exercise(c.rng)
    cell.source = re.sub(r"^( {4})+", lambda m: "  " * (len(m[0]) // 4), cell.source, flags=re.M)


@harmless("cells")
def form_feed(c: Context, page: Page) -> None:
    """Emacs: a form feed between definitions."""
    _prepend(page.some_exercise(c.rng), "\f")


@harmless("cells")
def blank_lines(c: Context, page: Page) -> None:
    """Blank lines above and below, inside and outside."""
    cell = page.some_exercise(c.rng)
    cell.source = f"{cell.head}\n\n\n{cell.code}\n\n\n"


@harmless("cells")
def windows_lines_in_cells(c: Context, page: Page) -> None:
    """Pasted from a Windows program: the cell's own lines end in CR LF."""
    cell = page.some_exercise(c.rng)
    cell.source = cell.source.replace("\n", "\r\n")


@harmless("cells")
def merged_with_the_cell_below(c: Context, page: Page) -> None:
    """Shift-M: an exercise's cell merged with the code cell below it."""
    for at in c.rng.sample(range(len(page.cells) - 1), len(page.cells) - 1):
        cell, below = page.cells[at : at + 2]
        plain = below.kind == "code" and not (below.exercise or below.head or JUPYTER_ONLY.search(below.source))
        if cell.exercise and cell.kind == "code" and plain:
            cell.source += f"\n\n{below.source}"
            del page.cells[at + 1]
            if below.source in BROKEN + FAILING:
                c.costs(cell.exercise)
            return


@harmless("cells")
def checks_moved(c: Context, page: Page) -> None:
    """A cell of no exercise moved to the end."""
    cells = [cell for cell in page.cells if not cell.head]
    if cells:
        cell = c.rng.choice(cells)
        page.cells.remove(cell)
        page.cells.append(cell)


@harmless("cells")
def exercise_moved_down(c: Context, page: Page) -> None:
    """An exercise's cell dragged to the end."""
    cell = page.some_exercise(c.rng)
    page.cells.remove(cell)
    page.cells.append(cell)


# --- inside an exercise's cell, and not right ---


@costly("cells", weight=3.0)
def stub(c: Context, page: Page) -> None:
    """An exercise that was not begun."""
    exercise = c.rng.choice(page.exercises)
    for cell, given in zip(page.of(exercise), c.stubs[page.stem].of(exercise), strict=False):
        cell.source = given.source
    c.costs(exercise)


@costly("cells", weight=4.0)
def wrong(c: Context, page: Page) -> None:
    """An answer that the tests refuse."""
    slips = {
        "values.sum() / values.size": "values.sum() / (values.size + 1)",
        "np.maximum(x, lo)": "np.minimum(x, lo)",
        "np.minimum(at_least": "np.maximum(at_least",
        "self.count += 1": "self.count += 2",
        "- middle) ** 2": "- middle) ** 3",
        "return max(self": "return min(self",
        "all(is_near": "any(not is_near",
    }
    found = [(cell, old) for cell in page.cells for old in slips if cell.exercise and old in cell.source]
    if found:
        cell, old = c.rng.choice(found)
        cell.source = cell.source.replace(old, slips[old])
        c.costs(cell.exercise)


@costly("cells")
def wrong_where_nobody_looks(c: Context, page: Page) -> None:
    """An answer that only a hidden test refuses."""
    for cell in page.cells:
        if "middle = mean(x)" in cell.source:
            cell.source = cell.source.replace("middle = mean(x)", "middle = float(np.median(x))")
            c.costs(cell.exercise)


@costly("cells", in_nbgrader=GOES_ON)
def does_not_compile(c: Context, page: Page) -> None:
    """What Python's compiler refuses, and its parser does not."""
    lines = ["return 5", "break", "yield 1", "await x", "def f(a, a):\n    pass", "nonlocal x"]
    cell = page.some_exercise(c.rng)
    cell.source += f"\n\n{c.rng.choice(lines)}"
    c.costs(cell.exercise)


@costly("cells")
def future_import_late(c: Context, page: Page) -> None:
    """`from __future__` copied into the exercise's cell."""
    cell = page.some_exercise(c.rng)
    _prepend(cell, c.rng.choice(["from __future__ import annotations", "x = 1\nfrom __future__ import division"]))
    c.costs(cell.exercise)


@costly("cells")
def does_not_parse(c: Context, page: Page) -> None:
    """A syntax error in an exercise's cell."""
    cell = page.some_exercise(c.rng)
    cell.source += f"\n\n{c.rng.choice(BROKEN[:-1])}"
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=ALL_CELLS)
def magic_inside(c: Context, page: Page) -> None:
    """A magic in the exercise's own cell."""
    cell = page.some_exercise(c.rng)
    cell.source += f"\n\n{c.rng.choice(MAGICS + ASKED[:2] + KEPT + AUTOMAGIC[:2])}"
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=GOES_ON)
def ends_python(c: Context, page: Page) -> None:
    """exit() at top level of an exercise's cell."""
    cell = page.some_exercise(c.rng)
    cell.source += (
        f"\n\nimport sys\n{c.rng.choice(['sys.exit()', 'sys.exit(2)', 'exit()', 'quit()', 'raise SystemExit'])}"
    )
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=KERNEL_ENDED)
def ends_the_process(c: Context, page: Page) -> None:
    """os._exit(), os.abort() or a signal at top level of an exercise's cell: nothing runs after it, nor `finally`."""
    cell = page.some_exercise(c.rng)
    ends = ["os._exit(0)", "os._exit(3)", "os.abort()", "os.kill(os.getpid(), 9)", "import ctypes; ctypes.string_at(0)"]
    cell.source += f"\n\nimport os\n{c.rng.choice(ends)}"
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=GOES_ON)
def raises_on_top(c: Context, page: Page) -> None:
    """An exception at top level of an exercise's cell."""
    cell = page.some_exercise(c.rng)
    cell.source += f"\n\n{c.rng.choice(FAILING)}"
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=GOES_ON)
def asks_for_input(c: Context, page: Page) -> None:
    """input() at top level of an exercise's cell."""
    cell = page.some_exercise(c.rng)
    cell.source += "\n\nname = input('Your name? ')"
    c.costs(cell.exercise)


@costly("cells", weight=2.0)
def asks_for_what_a_sandbox_lacks(c: Context, page: Page) -> None:
    """matplotlib, __file__, inspect, a thread, a file: what grading may not have."""
    lines = [
        "import matplotlib.pyplot as plt",
        "here = __file__",
        "import inspect\nshown = inspect.getsource(inspect)",
        "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()",
        "import tempfile\nopened = tempfile.TemporaryFile()",
        "import os\nuser = os.environ['HOME']",
        "from pathlib import Path\nhome = Path.home()",
        "import subprocess\nsubprocess.run(['true'])",
        "import numba",
        "import sys\nsys.setrecursionlimit(10_000)",
        "import multiprocessing\ncores = multiprocessing.cpu_count()",
    ]
    cell = page.some_exercise(c.rng)
    cell.source += f"\n\n{c.rng.choice(lines)}"
    c.costs(cell.exercise)


@costly("cells")
def function_renamed(c: Context, page: Page) -> None:
    """A function with a name of one's own."""
    cell = page.some_exercise(c.rng)
    cell.source = re.sub(r"^(def|class) (\w+)", r"\1 my_\2", cell.source, count=1, flags=re.M)
    c.costs(cell.exercise)


@costly("cells")
def half_a_marker(c: Context, page: Page) -> None:
    """`### BEGIN SOLUTION` without an end."""
    cell = page.some_exercise(c.rng)
    cell.source += "\n    ### BEGIN SOLUTION"
    c.costs(cell.exercise)


# --- an exercise's cell as a whole ---


@costly("cells", in_nbgrader=ALL_CELLS)
def helper_not_exported(c: Context, page: Page) -> None:
    """A helper in a cell of its own, that is not exported."""
    _helped(c, page, "")


@costly("cells", in_nbgrader=ALL_CELLS)
def helper_exported(c: Context, page: Page) -> None:
    """A helper in a cell of its own, that is exported."""
    _helped(c, page, "#| export\n")


def _helped(c: Context, page: Page, head: str) -> None:
    cells = [cell for cell in page.cells if cell.exercise and re.search(r"^    return ", cell.source, re.M)]
    if cells:
        cell = c.rng.choice(cells)
        cell.source = re.sub(r"^    return (.*)$", r"    return _kept(\1)", cell.source, flags=re.M)
        page.cells.insert(page.cells.index(cell), Cell("code", f"{head}def _kept(x):\n    return x"))
        c.costs(cell.exercise)


@costly("cells", in_nbgrader=ALL_CELLS)
def import_among_the_given(c: Context, page: Page) -> None:
    """An import added to the cell of imports, and needed."""
    cell = page.some_exercise(c.rng)
    given = next(cell for cell in page.cells if "import numpy as np" in cell.source)
    given.source += "\nimport math"
    cell.source += "\n\nROOT = math.sqrt(2)"
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=ALL_CELLS)
def given_code_changed(c: Context, page: Page) -> None:
    """A given function changed."""
    for cell in page.cells:
        cell.source = cell.source.replace("return 1.0 / max(count, 1)", "return 0.5 / max(count, 1)")
        cell.source = cell.source.replace("abs(a - b) <= TINY", "abs(a - b) > TINY")
    c.costs("running", "report")


@harmless("cells")
def given_code_commented(c: Context, page: Page) -> None:
    """A comment added to a given cell."""
    given = next(cell for cell in page.cells if "import numpy as np" in cell.source)
    given.source += "\n# the imports"


@costly("cells", in_nbgrader=ALL_CELLS)
def given_magic(c: Context, page: Page) -> None:
    """%matplotlib inline in the cell of imports."""
    given = next(cell for cell in page.cells if "import numpy as np" in cell.source)
    given.source += "\n%matplotlib inline"
    c.costs(*page.exercises)


@costly("cells", weight=2.0, in_nbgrader=ALL_CELLS)
def directive_lost(c: Context, page: Page) -> None:
    """A cell typed anew: one of its directives, or both, are gone."""
    cell = page.some_exercise(c.rng)
    lines = cell.head.splitlines(keepends=True)
    cell.source = "".join([*c.rng.choice([lines[:1], lines[1:], []]), cell.code])
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=ALL_CELLS)
def directive_of_another(c: Context, page: Page) -> None:
    """A directive copied from another exercise, or misspelt."""
    cell = page.some_exercise(c.rng)
    other = c.rng.choice([*page.exercises, f"{cell.exercise}s", f"{cell.exercise}".title(), ""])
    cell.source = cell.source.replace(f"exercise: {cell.exercise}", f"exercise: {other}".rstrip())
    c.costs(cell.exercise, other)


@costly("cells", weight=2.0, in_nbgrader=ALL_CELLS)
def line_above_the_directives(c: Context, page: Page) -> None:
    """A comment, or %%time, above the directives: they are no directives any more."""
    cell = page.some_exercise(c.rng)
    cell.source = f"{c.rng.choice(['# my answer', '%%time', '%%timeit', 'import math', '# %load x'])}\n{cell.source}"
    c.costs(cell.exercise)


@costly("cells")
def cell_deleted(c: Context, page: Page) -> None:
    """D D: a cell of an exercise deleted."""
    cell = page.some_exercise(c.rng)
    page.cells.remove(cell)
    c.costs(cell.exercise)


@costly("cells")
def cell_emptied(c: Context, page: Page) -> None:
    """A cell of an exercise emptied, with or without its directives."""
    cell = page.some_exercise(c.rng)
    cell.source = c.rng.choice(["", cell.head])
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=ALL_CELLS)
def cell_made_text(c: Context, page: Page) -> None:
    """M or R by mistake: the exercise's cell is text."""
    cell = page.some_exercise(c.rng)
    cell.kind = c.rng.choice(["markdown", "raw"])
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=NAMED_TWICE)
def cell_twice(c: Context, page: Page) -> None:
    """C V: the exercise's cell is there twice."""
    cell = page.some_exercise(c.rng)
    copy = Cell(cell.kind, cell.source, cell.exercise, cell.grade_id, metadata=dict(cell.metadata))
    page.cells.insert(page.cells.index(cell) + 1, copy)
    c.costs(cell.exercise)


@costly("cells", in_nbgrader=ALL_CELLS)
def cell_split(c: Context, page: Page) -> None:
    """Ctrl-Shift-Minus: the exercise's cell split below a helper, or above an import at its end."""
    cell = page.some_exercise(c.rng)
    at = page.cells.index(cell) + 1
    if c.rng.random() < 0.5:
        page.cells.insert(at, Cell("code", cell.code, grade_id=cell.grade_id))
        cell.source = f"{cell.head}def _helper(x):\n    return x"
    else:
        page.cells.insert(at, Cell("code", "print('the end')"))
    c.costs(cell.exercise)


@costly("cells", weight=0.5, in_nbgrader=ALL_CELLS)
def default_exp_lost(c: Context, page: Page) -> None:
    """The cell with default_exp deleted."""
    page.cells = [cell for cell in page.cells if "default_exp" not in cell.source]
    c.costs(*page.exercises)


@costly("cells", weight=0.5, in_nbgrader=ALL_CELLS)
def default_exp_changed(c: Context, page: Page) -> None:
    """The cell with default_exp changed."""
    for cell in page.cells:
        cell.source = re.sub(r"default_exp \w+", "default_exp my_answers", cell.source)
    c.costs(*page.exercises)

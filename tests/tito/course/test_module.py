from __future__ import annotations

import pytest

from tito.course.module import Part, find_module_name, load_module

from ..toy_course import TABLE, Course, add_ends

PARTS = '{ "adds up" = 2, "own total" = 1 }'
SECOND = '[[notebook.exercise]]\nid = "counter"'


def test_a_module_is_its_table_in_order(course: Course) -> None:
    module = load_module(course.project, "01_toy")
    assert [(exercise.id, exercise.points) for exercise in module.exercises] == [("double", 2), ("counter", 3)]
    assert (module.title, module.points) == ("A toy module", 5)
    assert module.exercises[0].hints[2] == "return 2 * x, nearly"
    assert module.exercises[0].parts == ()
    assert module.exercises[1].parts == (Part("adds up", 2), Part("own total", 1))
    assert module.notebook_of("counter").path.name == "toy_dev.py"


@pytest.mark.parametrize("asked", ["01_toy", "01", "0", "modules/source/01_toy/"])
def test_a_module_answers_to_its_name_to_a_beginning_and_to_its_path(course: Course, asked: str) -> None:
    assert find_module_name(course.project, asked) == "01_toy"


def test_a_second_module_is_a_folder_and_nothing_else(course: Course) -> None:
    course.write("modules/source/02_more/module.toml", course.read(TABLE).replace("toy_dev", "more_dev"))
    notebook = course.read("modules/source/01_toy/toy_dev.py").replace("default_exp sums", "default_exp more")
    course.write("modules/source/02_more/more_dev.py", notebook)
    assert course.tito("export", "02").status == 0
    assert (course.root / "toy" / "more.py").is_file()
    course.tito("export", "0").refuses("'0' could be any of 01_toy, 02_more", status=2)


def test_an_unknown_module_is_answered_with_the_nearest_and_with_all(course: Course) -> None:
    course.tito("export", "01_tyo").refuses(
        "no module '01_tyo' (the nearest is '01_toy')", "There are: 01_toy", status=2
    )
    course.tito("test", "").refuses("no module ''", status=2)


def test_an_exercise_is_named_by_its_id_by_the_name_of_a_part_or_behind_its_module(course: Course) -> None:
    for named in (["counter"], ["own total"], ["01", "counter"], ["01_toy", "adds up", "--exercise", "own total"]):
        said = course.tito("test", *named)
        assert said.status == 0 and said.out.split("\n")[0].split()[:4] == ["counter", "3", "of", "3"], named
    assert course.tito("hint", "own total").out.startswith("counter: ")
    assert course.tito("test", "counter", "double").out.count("passed") == 2


def test_a_name_that_is_none_is_answered_with_the_nearest_exercise_and_a_part_with_its_whole(course: Course) -> None:
    course.tito("test", "duoble").refuses("no module or exercise 'duoble' (the nearest is 'double')", status=2)
    course.tito("test", "01", "duoble").refuses("no exercise 'duoble' (the nearest is 'double')", status=2)
    course.tito("reset", "own total").refuses("no exercise 'own total': it is a part of counter", status=2)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("points = 2", "point = 2", "notebook 1: exercise 1: unknown key 'point' (the nearest is 'points')"),
        ("points = 2\n", "", "notebook 1: exercise 1: points is missing for 'double'"),
        ("points = 2", "points = 0", "points of 'double' must be a whole number above 0, got 0"),
        ("points = 2", "points = true", "points of 'double' must be a whole number above 0, got True"),
        ("points = 2", 'points = "2"', "points of 'double' must be a whole number above 0, got '2'"),
        (
            ', "return 2 * x, nearly"]',
            "]",
            "hints of 'double' must be three texts (a question, a nudge, nearly the line), got 2",
        ),
        (PARTS, "{ add = 1, total = 1 }", "the parts of 'counter' add up to 2, and its points are 3"),
        (PARTS, "{}", "the parts of 'counter' add up to 0, and its points are 3"),
        (PARTS, "{ add = 3, total = 0 }", "parts of 'counter' must be whole numbers above 0 by name, such as"),
        (PARTS, "{ add = 1.5, total = 1.5 }", "parts of 'counter' must be whole numbers above 0 by name, such as"),
        (PARTS, "{ add.up = 2, total = 1 }", "parts of 'counter' must be whole numbers above 0 by name, such as"),
        (PARTS, '["add", "total"]', "parts of 'counter' must be whole numbers above 0 by name, such as"),
        (PARTS, '{ "" = 1, total = 2 }', "a part of 'counter' must be called as its function is, or in a few words"),
        (PARTS, '{ "a: b" = 1, total = 2 }', "must be called as its function is, or in a few words, got 'a: b'"),
        (', "return 2 * x, nearly"]', ', ""]', "hints of 'double' must be three texts"),
        ('id = "counter"', 'id = "double"', "the id 'double' is used twice"),
        ('id = "counter"', 'id = "Count er"', "id must be a lower-case name such as 'choose_qparams'"),
        ('file = "toy_dev.py"', 'file = "tyo_dev.py"', "file 'tyo_dev.py' does not exist, nor does tyo_dev.ipynb"),
        ('file = "toy_dev.py"', 'file = "../toy_dev.py"', "file must name a .py beside module.toml"),
        ('file = "toy_dev.py"\n', "", "notebook 1: file is missing"),
        ('title = "A toy module"\n', "", "module.toml: title is missing"),
        ('title = "Twice a number"', "title = 2", "title must be a text, got 2"),
        ('title = "A toy module"', "title = A toy module", "is not valid TOML"),
        ("title =", 'given = "core"\ntitle =', "given must be a list of folders and files of the package"),
        ("title =", 'given = ["../secrets"]\ntitle =', "given must be a list of folders and files of the package"),
        (SECOND, '[[notebook]]\nfile = "toy_dev.py"\n' + SECOND, "the notebook file 'toy_dev.py' is used twice"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_key(course: Course, old: str, new: str, sentence: str) -> None:
    course.change(TABLE, old, new)
    course.tito("export", "01_toy").refuses(TABLE, sentence)


def test_a_table_without_notebooks_or_exercises_is_refused(course: Course) -> None:
    course.write(TABLE, 'title = "Nothing"\n')
    course.tito("export", "01_toy").refuses("notebook is missing")
    course.write(TABLE, 'title = "Nothing"\n[[notebook]]\nfile = "toy_dev.py"\n')
    course.tito("export", "01_toy").refuses("no exercise at all")


def test_an_unknown_exercise_is_answered_with_the_nearest_and_with_all(course: Course) -> None:
    said = course.tito("test", "01", "--exercise", "cuonter")
    said.refuses("no exercise 'cuonter' (the nearest is 'counter')", "It has: double, counter", status=2)


QUESTION = '[[notebook.question]]\nid = "why"\ntitle = "Why?"\n'


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (QUESTION.replace('"why"', '"double"'), "the id 'double' is used twice"),
        (QUESTION * 2, "the id 'why' is used twice"),
        (QUESTION.replace('"why"', '"Why not?"'), "id must be a lower-case name such as 'acceptable_loss'"),
        (QUESTION.replace('title = "Why?"', ""), "title is missing for 'why'"),
        (QUESTION + "points = -1\n", "points of 'why' must be a whole number from 0 on, got -1"),
        (QUESTION + "points = true\n", "points of 'why' must be a whole number from 0 on, got True"),
        (QUESTION + 'hints = ["?"]\n', "unknown key 'hints'"),
        ("question = 3\n", "question must be a list of tables"),
    ],
)
def test_a_wrong_question_is_refused_with_file_and_key(course: Course, table: str, sentence: str) -> None:
    course.write(TABLE, course.read(TABLE) + "\n" + table)
    if table.startswith("question"):
        course.change(TABLE, 'file = "toy_dev.py"\n', 'file = "toy_dev.py"\n' + table)
        course.write(TABLE, course.read(TABLE).removesuffix(table))
    course.tito("export", "01_toy").refuses(TABLE, sentence)


def test_a_question_earns_no_points_unless_it_says_so_and_never_those_of_the_exercises(course: Course) -> None:
    course.write(TABLE, course.read(TABLE) + "\n" + QUESTION)
    module = load_module(course.project, "01_toy")
    assert [(question.id, question.points) for question in module.questions] == [("why", 0)]
    course.write(TABLE, course.read(TABLE) + "points = 2\n")
    module = load_module(course.project, "01_toy")
    assert module.questions[0].points == 2 and module.points == 5


@pytest.mark.parametrize(
    "command", [["start"], ["submit"], ["status"], ["export"], ["release", "--to", "x"], ["demo"], ["deploy"]]
)
def test_an_exercise_in_the_place_of_a_module_is_told_with_its_module(course: Course, command: list[str]) -> None:
    name, *options = command
    said = course.tito(name, "double", *options)
    said.refuses("'double' is an exercise of 01_toy, and a module is wanted here: write 01_toy", status=2)


def test_watch_tells_how_to_come_to_an_exercise(course: Course) -> None:
    add_ends(course)
    course.tito("watch", "double").refuses("is an exercise of 01_toy", "`tito watch 01_toy`, where n goes", status=2)
    course.tito("watch", "lowest").refuses("is a part of an exercise of 01_toy", status=2)

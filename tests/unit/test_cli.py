"""The `ratchet` command as a user types it: quick help, one line for a mistake, nothing heavy loaded."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HEAVY = ("torch", "prefect", "mlflow", "transformers", "pandas", "evidently", "datasets", "great_expectations")
COMMANDS = (
    "init", "run", "join", "demo", "status", "history", "suite", "gate", "profile", "review", "rollback", "monitor",
    "up", "doctor", "schema",
)  # fmt: skip
GROUPS = {"golden": ("status", "refresh")}
NEEDS_SPEC = ("run", "status", "history", "suite", "profile", "review", "rollback", "monitor", "up")
NEED_SPEC = (*NEEDS_SPEC, *(f"{group} {name}" for group, names in GROUPS.items() for name in names))
LIGHT = (
    "flows.cli", "serving.predictors", "tasks.store", "tasks.specs", "tasks.measure.gate.decide", "feedback.app",
    "flows.spec",
)  # fmt: skip


def ratchet(*arguments, cwd):
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


def refused(done, code=2):
    """Return the one line that a refusal wrote."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("ratchet: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("ratchet: ").rstrip("\n")


def test_help_lists_every_command(tmp_path):
    done = ratchet("--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    listed = re.findall(r"^\W*([a-z]+) {2,}[A-Z]", done.stdout, re.MULTILINE)
    assert tuple(listed) == (*COMMANDS, *GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_commands_and_asks_for_one(tmp_path, group):
    done = ratchet(group, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tuple(re.findall(r"^\W*([a-z]+) {2,}[A-Z]", done.stdout, re.MULTILINE)) == GROUPS[group]
    assert refused(ratchet(group, cwd=tmp_path)).endswith(f"`ratchet {group} --help` lists what there is)")


def test_importing_the_light_modules_loads_nothing_heavy():
    """One after another in one process: what is loaded from some module on shows in its line."""
    code = (
        "import importlib, json, sys\n"
        f"loaded = lambda: sorted(set({HEAVY!r}) & set(sys.modules))\n"
        f"print(json.dumps({{name: (importlib.import_module(name), loaded())[1] for name in {LIGHT!r}}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {name: [] for name in LIGHT}


def test_help_loads_nothing_heavy(tmp_path):
    unwanted = (*HEAVY, "sqlalchemy", "scipy", "pyarrow", "pydantic")
    code = (
        "import sys\nfrom flows.cli import main\nsys.argv = ['ratchet', '--help']\n"
        "try:\n    main()\n"
        f"except SystemExit:\n    print('loaded:', *sorted(set({unwanted!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_every_command_refuses_a_missing_spec_in_one_line(tmp_path):
    code = (
        "import sys\nfrom flows.cli import main\n"
        f"for command in {NEED_SPEC!r}:\n"
        "    sys.argv = ['ratchet', *command.split()]\n"
        "    try:\n        main()\n"
        "    except SystemExit as stop:\n        print(command, stop.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{command} 2" for command in NEED_SPEC]
    message = f"ratchet: {tmp_path}/ratchet.yaml: no such file; write one with `ratchet init DIR`, or name yours"
    assert done.stderr.splitlines() == [message] * len(NEED_SPEC)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", NEED_SPEC)
def test_a_missing_spec_is_told_before_anything_heavy_is_loaded(tmp_path, command):
    unwanted = (*HEAVY, "sqlalchemy", "scipy", "pyarrow", "alembic")
    code = (
        f"import sys\nfrom flows.cli import main\nsys.argv = ['ratchet', *{command!r}.split()]\n"
        "try:\n    main()\n"
        f"except SystemExit:\n    print('loaded:', *sorted(set({unwanted!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "loaded:\n"


def test_what_the_command_answers_without_a_run_needs_no_prefect():
    code = "import sys, flows.status, flows.show\nprint('prefect' in sys.modules, 'mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_named_spec_that_is_missing_is_named(tmp_path):
    assert refused(ratchet("run", "other.yaml", cwd=tmp_path)).startswith(f"{tmp_path}/other.yaml: no such file")


def test_a_mistake_in_the_spec_names_file_field_and_mend(tmp_path):
    (tmp_path / "ratchet.yaml").write_text("name: x\ndata: {source: {kind: file, path: a.csv}}\ngate: {margn: 1}\n")
    line = refused(ratchet("run", cwd=tmp_path))
    assert line == f"{tmp_path}/ratchet.yaml: gate.margn: unknown key; did you mean 'margin'?"


@pytest.mark.parametrize(
    ("arguments", "named", "help_of"),
    [
        (["run", "--jsn"], "--jsn", "ratchet run --help"),
        (["rum"], "'rum'", "ratchet --help"),
        (["--jsn"], "--jsn", "ratchet --help"),
        (["run", "a", "b", "c"], "b c", "ratchet run --help"),
        (["init"], "'folder'", "ratchet init --help"),
        (["review", "--spec"], "'--spec'", "--help"),
        (["up", "--webhook-port", "many"], "--webhook-port", "ratchet up --help"),
        (["up", "--webhook-port", "70000"], "65535", "ratchet up --help"),
        (["profile", "--batch-size", "0"], "--batch-size", "ratchet profile --help"),
        (["profile", "--seconds", "0"], "--seconds", "ratchet profile --help"),
        (["profile", "1", "2"], "2", "ratchet profile --help"),
    ],
)
def test_a_usage_mistake_is_one_line_and_says_where_help_is(tmp_path, arguments, named, help_of):
    line = refused(ratchet(*arguments, cwd=tmp_path))
    assert named in line
    assert line.endswith(f"{help_of}` lists what there is)")


def test_the_bare_command_and_a_commands_help_are_no_mistake(tmp_path):
    bare, full = ratchet(cwd=tmp_path), ratchet("--help", cwd=tmp_path)
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, full.stdout, "")
    one = ratchet("review", "--help", cwd=tmp_path)
    assert (one.returncode, one.stderr) == (0, "")
    assert "Usage: ratchet review" in one.stdout


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("typer.Exit(1)", 1), ("typer.Exit(0)", 0), ("KeyboardInterrupt", 130), ("typer.Abort()", 130),
        ("SystemExit(4)", 4), ("UserError('say what')", 2), ("StorageError('disk full')", 1),
    ],
)  # fmt: skip
def test_exit_codes_come_through_without_a_traceback(tmp_path, ending, code):
    program = (
        "import sys, typer\nfrom flows.cli import app, main\nfrom tasks.errors import StorageError, UserError\n"
        f"@app.command()\ndef stop():\n    raise {ending}\nsys.argv = ['ratchet', 'stop']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr


def test_a_bug_keeps_its_traceback(tmp_path):
    program = (
        "import sys\nfrom flows.cli import app, main\n"
        "@app.command()\ndef stop():\n    raise ZeroDivisionError\nsys.argv = ['ratchet', 'stop']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_schema_prints_json(tmp_path):
    done = ratchet("schema", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "levers" in json.loads(done.stdout)["properties"]


def test_init_writes_a_project_and_refuses_a_second_time(tmp_path):
    done = ratchet("init", "here", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = [tmp_path / name for name in json.loads(done.stdout)["written"]]
    assert {path.name for path in written} >= {"ratchet.yaml", "prefect.yaml", "messages.csv", "golden.csv"}
    assert all(path.stat().st_size > 100 for path in written)
    spec = yaml.safe_load((tmp_path / "here" / "ratchet.yaml").read_text())
    for path in spec["data"]["source"]["splits"].values():
        header = (tmp_path / "here" / path).read_text().splitlines()[0].split(",")
        assert {spec["data"]["text"], spec["data"]["target"], *spec["data"]["slices"]} <= set(header)
    before = {path: path.read_bytes() for path in written}
    line = refused(ratchet("init", "here", cwd=tmp_path))
    assert line == "here/ratchet.yaml: already there; name another folder, or edit this project"
    assert {path: path.read_bytes() for path in written} == before


@pytest.mark.parametrize("place", ["a_file/project", "/proc/ratchet"])
def test_init_where_nothing_can_be_written_is_one_line(tmp_path, place):
    (tmp_path / "a_file").write_text("x")
    line = refused(ratchet("init", place, cwd=tmp_path), code=1)
    assert line.startswith(f"{place}: cannot be written (")
    assert line.endswith("); name a folder that can be")


def test_a_project_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "ratchet.yaml").write_text("name: x\ndata: {source: {kind: file, path: a.csv}}\n")
    (tmp_path / ".ratchet").write_text("a file stands where the folder belongs")
    line = refused(ratchet("run", cwd=tmp_path), code=1)
    assert line.startswith(f"{tmp_path}/.ratchet: cannot be written (")


def test_every_command_that_answers_has_json():
    silent = {"up"}
    folder = Path(__file__).parents[2] / "flows"
    expected = {"cli.py": ("app", COMMANDS)} | {f"{name}_cli.py": (name, names) for name, names in GROUPS.items()}
    for file, (group, names) in expected.items():
        found = rf"@{group}\.command\(\)\ndef (\w+)\((.*?)\) -> None:"
        functions = re.findall(found, (folder / file).read_text(), re.DOTALL)
        assert {name for name, arguments in functions if "as_json" not in arguments} == silent & set(names)
        assert tuple(name for name, _ in functions) == names


def test_the_suite_is_printed_written_once_and_refused_where_it_contradicts_itself(tmp_path):
    assert ratchet("init", "shop", cwd=tmp_path).returncode == 0
    shown = ratchet("suite", "shop", cwd=tmp_path)
    content = yaml.safe_load(shown.stdout)
    assert (content["min_rows"], content["columns"][-1], "leakage" in content["stop"]) == (20, "channel", True)
    written = ratchet("suite", "shop", "--write", "--json", cwd=tmp_path)
    path = tmp_path / "shop" / "checks.yaml"
    assert json.loads(written.stdout)["written"] == str(path)
    assert path.read_text("utf-8") == shown.stdout
    assert "is there already; edit it" in refused(ratchet("suite", "shop", "--write", cwd=tmp_path))
    path.write_text("min_rows: 30\nmax_rows: 20\nmax_pii_share: off\n", "utf-8")
    assert refused(ratchet("suite", "shop", cwd=tmp_path)).endswith(
        "checks.yaml: min_rows 30 contradicts max_rows 20; change one of them"
    )

"""Bad input as a user meets it: one line that names the place and the mend, or a clean recovery; the champion unharmed.

One project, made once; each test points a second spec in the same folder at its own bad input.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from feedback.errors import FeedbackError
from flows.outcome import Outcome, read_outcomes
from flows.project import Project, open_project
from tasks.errors import RatchetError
from tasks.records import from_json
from tests.e2e.commands import ratchet, ratchet_here
from tests.loop_support import make_project, messages, write_csv

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.filterwarnings("default")]

SMALL: dict[str, Any] = {"benchmark": {"samples": 50, "blocks": 5, "threads": 1}, "levers": []}


def turn(spec: Path) -> Outcome:
    from flows.iterate import iterate

    return from_json(Outcome, iterate(str(spec), "run"))


def variant(spec: Path, **changes: Any) -> Path:
    """Return a second spec in the project's folder, with the values at dotted paths (`data__text`) changed."""
    content = yaml.safe_load(spec.read_text("utf-8"))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = content
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    other = spec.with_name("variant.yaml")
    other.write_text(yaml.safe_dump(content), "utf-8")
    return other


def retrained(seed: int) -> list[dict[str, Any]]:
    """Return levers that make the next iteration train."""
    return [{"name": "again", "train": {"epochs": 1, "learning_rate": 0.001, "precision": "fp32", "seed": seed}}]


def trained(project: Project) -> set[Path]:
    return set((project.state / "store" / "fit").glob("*/record.json"))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, prefect_api: str) -> Path:
    """The spec of a small project that has its baseline."""
    path = make_project(tmp_path_factory.mktemp("bad"), tiny_base, **SMALL)
    assert turn(path).result == "baseline"
    return path


@pytest.fixture
def project(spec: Path) -> Iterator[Project]:
    """The project, whose registry is checked after the test: aliases and versions as before, no open ledger entry."""
    from feedback import ledger

    project = open_project(spec)
    before = project.registry.aliases(), [version.number for version in project.registry.versions()]
    assert before[0] == {"baseline": "1", "champion": "1"}
    yield project
    after = project.registry.aliases(), [version.number for version in project.registry.versions()]
    assert after == before
    assert ledger.unfinished(project.database, "tiny") == []


# -- data --------------------------------------------------------------------------------------------------------------


def write_header(folder: Path) -> None:
    (folder / "bad.csv").write_text("id,text,label,channel\n", "utf-8")


def write_nothing(folder: Path) -> None:
    (folder / "bad.csv").write_bytes(b"")


def write_one_class(folder: Path) -> None:
    write_csv(folder / "bad.csv", [{**row, "label": "refund"} for row in messages(100, seed=1)])


def write_unseen_label(folder: Path) -> None:
    rows = messages(100, seed=2)
    write_csv(folder / "bad.csv", [*rows[:-1], {**rows[-1], "label": "warranty"}])


def write_wide_row(folder: Path) -> None:
    rows = messages(30, seed=1)
    write_csv(folder / "bad.csv", [*rows[:9], {**rows[9], "text": "x" * 10_000_000}, *rows[10:]])


def write_wide_json(folder: Path) -> None:
    rows = [{**row, "text": "x" * 10_000_000} if n == 9 else row for n, row in enumerate(messages(30, seed=1))]
    (folder / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")


def write_leaks(folder: Path) -> None:
    copies = [{**row, "id": f"copy-{row['id']}"} for row in messages(400, seed=2)[:3]]
    write_csv(folder / "bad.csv", [*messages(300, seed=1), *copies])


def write_none(folder: Path) -> None:
    pass


TRAIN, GOLDEN = "data__source__splits__train", "data__source__splits__golden"
BAD_DATA: dict[str, tuple[Callable[[Path], None], dict[str, Any], list[str]]] = {
    "missing file": (write_none, {TRAIN: "trian.csv"}, ["trian.csv: no such file", "did you mean 'train.csv'?"]),
    "unknown column": (write_none, {"data__text": "texts"},
                       ["golden.csv: no column 'texts' (data.text)", "did you mean 'text'?"]),
    "unknown slice": (write_none, {"data__slices": ["chanel"]}, ["'chanel' (data.slices)", "did you mean 'channel'?"]),
    "header only": (write_header, {TRAIN: "bad.csv"}, ["bad.csv: no rows", "'text' and 'label'"]),
    "empty file": (write_nothing, {TRAIN: "bad.csv"}, ["bad.csv: ", "empty"]),
    "one class": (write_one_class, {TRAIN: "bad.csv"}, ["train has one class only, 'refund'", "at least two"]),
    "unseen label": (write_unseen_label, {GOLDEN: "bad.csv"},
                     ["golden has 1 labels", "'warranty' on 1 rows (row 2-99)"]),
    "wide row": (write_wide_row, {TRAIN: "bad.csv"}, ["bad.csv line 11", "1048576 characters"]),
    "wide json": (write_wide_json, {TRAIN: "bad.jsonl"},
                  ["bad.jsonl line 10: column 'text' holds 10000000 bytes", "split or remove the row"]),
    "leakage": (write_leaks, {TRAIN: "bad.csv", "data__leakage": "refuse"},
                ["3 of 703 rows", "row copy-2-0 repeats golden row 2-0", "`data.leakage: drop`"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_one_line_with_place_and_mend(
    name: str, spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    write, changes, told = BAD_DATA[name]
    write(project.root)
    before = trained(project)
    line = ratchet_here(capfd, "run", variant(spec, **changes), "--json").mistake(2, *told)
    assert len(line) < 1000
    assert trained(project) == before


def test_the_real_command_answers_a_missing_file_in_one_line(spec: Path, project: Project) -> None:
    answer = ratchet("run", variant(spec, **{TRAIN: "trian.csv"}), "--json")
    answer.mistake(2, "trian.csv: no such file", "did you mean 'train.csv'?")


def test_garbage_twice_is_refused_twice_with_the_same_line(
    spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    (project.root / "bad.jsonl").write_bytes(b"\x80\x81 not text\n")
    garbage = variant(spec, **{TRAIN: "bad.jsonl"})
    first, second = (ratchet_here(capfd, "run", garbage, "--json").mistake(2, "line 1", "UTF-8") for _ in range(2))
    assert first == second


def test_leaking_rows_are_dropped_on_request(spec: Path, project: Project) -> None:
    write_leaks(project.root)
    outcome = turn(variant(spec, **{TRAIN: "bad.csv", "data__leakage": "drop"}))
    assert sum(outcome.snapshot.rows.values()) == 700
    assert outcome.snapshot.rows["golden"] == 400


def test_nul_bytes_and_lone_surrogates_are_mended_and_the_run_completes(spec: Path, project: Project) -> None:
    rows = messages(300, seed=1)
    lines = [json.dumps({**row, "text": f"a\ud800 {row['text']} \x00"} if n % 10 == 0 else row)
             for n, row in enumerate(rows)]  # fmt: skip
    assert "\\ud800" in lines[0] and "\\u0000" in lines[0]
    (project.root / "bad.jsonl").write_text("\n".join(lines), "ascii")
    raw = (project.root / "golden.csv").read_text("utf-8").splitlines()
    (project.root / "bad.csv").write_bytes("\n".join([raw[0], raw[1] + "\x00", *raw[2:]]).encode())
    outcome = turn(variant(spec, **{TRAIN: "bad.jsonl", GOLDEN: "bad.csv"}))
    assert [trial.lever for trial in outcome.trials] == ["new-data"]
    assert outcome.snapshot.rows["golden"] == 400
    assert read_outcomes(project)[-1] == outcome


def test_a_suite_that_stops_names_its_data_docs_and_nothing_is_trained(
    spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    before = trained(project)
    stopping = variant(spec, data__checks={"min_rows": 5000}, levers=retrained(3))
    line = ratchet_here(capfd, "run", stopping, "--json").mistake(2, "data.checks", "min_rows")
    docs = Path(line.split("see ")[1].split(",")[0])
    assert docs.is_file() and "expect" in docs.read_text("utf-8").lower()
    assert trained(project) == before
    client, [experiment] = (
        project.registry.client,
        project.registry.client.search_experiments(filter_string="name = 'tiny'"),
    )
    last = client.search_runs([experiment.experiment_id], "tags.`ratchet.iteration` != ''", max_results=1)[0]
    assert last.info.status == "FAILED"
    assert "data_docs/index.html" in [item.path for item in client.list_artifacts(last.info.run_id, "data_docs")]


def test_a_suite_of_its_own_that_contradicts_itself_or_stops_is_named(
    spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    checks = project.root / "checks.yaml"
    try:
        checks.write_text("length: {min: 9, max: 5}\n", "utf-8")
        ratchet_here(capfd, "run", spec, "--json").mistake(2, "checks.yaml: length: min 9 is above max 5")
        checks.write_text("forbidden_labels: [refund]\n", "utf-8")
        line = ratchet_here(capfd, "run", spec, "--json").mistake(2, "forbidden_labels: ", "allowed none of refund")
        assert re.search(r"e\.g\. (golden|train)\.csv (line \d+ )?\(id [12]-\d+\), ", line)
    finally:
        checks.unlink()


# -- the spec and the base model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data__leakege": "drop"}, ["variant.yaml: data.leakege: unknown key", "did you mean 'leakage'?"]),
        ({"recipe__compress": ["int8"]}, ["recipe.compress", "onnx"]),
        ({"levers": [{"name": "smaller", "compress": ["int8"]}]}, ["levers[0].compress", "onnx"]),
    ],
    ids=["misspelt key", "int8 alone", "int8 lever alone"],
)
def test_a_spec_that_cannot_work_is_refused_at_the_door(
    changes: dict[str, Any], told: list[str], spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    ratchet_here(capfd, "run", variant(spec, **changes), "--json").mistake(2, *told)


@pytest.fixture
def bases(tmp_path: Path, tiny_base: Path) -> Path:
    """Folders of broken base models."""
    shutil.copytree(tiny_base, tmp_path / "wordless")
    for file in (tmp_path / "wordless").glob("*token*"):
        file.unlink()
    shutil.copytree(tiny_base, tmp_path / "pickled")
    import torch
    from safetensors.torch import load_file

    weights = tmp_path / "pickled" / "model.safetensors"
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()
    shutil.copytree(tiny_base, tmp_path / "truncated")
    cut = tmp_path / "truncated" / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    return tmp_path


@pytest.mark.parametrize("name", ["absent", "wordless", "pickled", "truncated"])
def test_a_base_that_cannot_be_loaded_is_named(
    name: str, spec: Path, project: Project, bases: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = str(bases / name)
    fresh = variant(spec, name="fresh", recipe__base=base)  # a project without a champion builds its base
    ratchet_here(capfd, "run", fresh, "--json").mistake(2, "recipe.base: ", base, "safetensors", "tokenizer")
    assert open_project(fresh).registry.versions() == []


def test_the_real_command_names_a_base_that_cannot_be_loaded(spec: Path, project: Project, bases: Path) -> None:
    fresh = variant(spec, name="fresh", recipe__base=str(bases / "pickled"))
    ratchet("run", fresh, "--json").mistake(2, "recipe.base: ", "safetensors")


# -- outside systems and the disk --------------------------------------------------------------------------------------


def test_an_unreachable_mlflow_is_one_line_soon(spec: Path, project: Project) -> None:
    started = time.monotonic()
    answer = ratchet("run", variant(spec, registry__tracking_uri="http://127.0.0.1:9"), "--json")
    answer.mistake(1, "MLflow at http://127.0.0.1:9", "registry.tracking_uri")
    assert time.monotonic() - started < 60  # with the imports of a busy machine; the waiting itself takes seconds


def test_a_changed_model_file_is_found_and_fetched_again(
    spec: Path, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    champion = project.registry.by_alias("champion")
    assert champion is not None
    folder = Path(project.registry.read_record(champion).candidate.uri)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    again = variant(spec, levers=retrained(4))
    line = ratchet_here(capfd, "run", again, "--json").mistake(1, "model.safetensors", "changed", "run again")
    assert str(folder) in line
    shutil.rmtree(folder.parent)  # what the line asks for
    outcome = turn(again)
    assert [trial.lever for trial in outcome.trials] == ["again"]
    assert weights.is_file()


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 64 MB of its own."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk (tmpfs) needs root and `mount`")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk (tmpfs) cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def filled(disk: Path, leave_bytes: int) -> Iterator[None]:
    """Fill the disk up to some bytes while the block runs."""
    ballast = disk / "ballast"
    state = os.statvfs(disk)
    size = state.f_bavail * state.f_frsize - leave_bytes
    try:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        yield
    finally:
        ballast.unlink(missing_ok=True)


def test_too_little_space_is_said_before_anything_starts(
    small_disk: Path, tiny_base: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = make_project(small_disk / "project", tiny_base, **SMALL)
    ratchet_here(capfd, "run", spec, "--json").mistake(1, "MB free, an iteration needs 300", "free some space")
    assert not (spec.parent / ".ratchet" / "mlflow.db").exists()


def test_a_disk_that_fills_up_in_an_iteration_harms_nothing(
    small_disk: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    from feedback import ledger

    monkeypatch.setattr("flows.project.ENOUGH_BYTES", 0)
    spec = make_project(small_disk / "project", tiny_base, **SMALL)
    project = open_project(spec)
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: project.state / "store" / "results"}):
        assert turn(spec).result == "baseline"
        again = variant(spec, levers=retrained(5))
        with filled(small_disk, 0):
            ratchet_here(capfd, "run", again, "--json").mistake(1, "free some space")
        failed = 0
        for leave_kb in (16, 64, 128, 256, 512, 1024, 2048):
            with filled(small_disk, leave_kb << 10):
                try:
                    turn(again)
                except (RatchetError, FeedbackError) as error:
                    failed += 1
                    assert "free some space" in str(error), leave_kb
            assert open_project(spec).registry.aliases() == {"baseline": "1", "champion": "1"}
        assert failed >= 3
        outcome = turn(again)
    assert outcome.result in ("rejected", "inconclusive", "unchanged", "promoted")
    assert ledger.unfinished(project.database, "tiny") == []
    assert not list(project.state.rglob("*.partial"))
    assert not list(project.registry.client.search_runs(["1"], "attributes.status = 'RUNNING'"))

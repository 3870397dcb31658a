"""The README says what is there: commands, options, rooms, make targets, spec sections."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def commands() -> dict[str, set[str]]:
    """Every command of the program with its long options; those of a group under `group command`."""
    from flows.cli import app

    found = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for group in [name for name, command in found.items() if hasattr(command, "commands")]:
        inner = found.pop(group).commands
        found |= {f"{group} {name}": command for name, command in inner.items()}
    return {name: {o for p in command.params for o in p.opts if o.startswith("--")} for name, command in found.items()}


def test_every_command_is_in_the_readme_and_every_one_named_there_exists() -> None:
    known = commands()
    groups = {name.split()[0] for name in known if " " in name}
    assert set(known) <= set(re.findall(rf"`?ratchet ((?:(?:{'|'.join(groups)}) )?[a-z]+)\b", README))
    for line in re.findall(r"`ratchet ([^`\n]+)`", README):
        name, *rest = line.split()
        if name in groups and rest:
            name, *rest = f"{name} {rest[0]}", *rest[1:]
        assert name in known or name in groups, line
        options = {word.strip("[]") for word in rest if word.strip("[]").startswith("--")}
        assert options <= known.get(name, set()) | {"--help"}, line


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake ([a-z][a-z-]*)\b", README):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("room", ["flows", "tasks", "serving", "monitoring", "feedback", "deploy", "examples", "tests"])
def test_the_tree_names_every_room(room: str) -> None:
    assert (ROOT / room).is_dir()
    assert re.search(rf"^{room}/ ", README, re.M)


def test_every_section_of_the_spec_is_explained() -> None:
    from flows.spec import Spec

    for section in fields(Spec):
        if section.name != "task":
            assert f"| `{section.name}` |" in README, section.name


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README

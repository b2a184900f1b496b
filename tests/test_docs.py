"""What the READMEs promise exists in the program, and what the program has is in the READMEs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from pipeline.cli import app
from pipeline.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh-CN.md")
DOCUMENTS = (*READMES, "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md", "deploy/RUNBOOK.md")


def commands() -> dict[str, Any]:
    """Every command of the program by its words after `tingbo`, as `cases list`."""

    def walk(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield " ".join(words), command
            return
        for name, child in children.items():
            yield from walk((*words, name), child)

    return dict(walk((), typer.main.get_command(app)))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def command_rows(text: str) -> dict[str, str]:
    """The table of commands: words after `tingbo` → the row's description."""
    return dict(re.findall(r"^\| `tingbo ([a-z ]+)` \| (.+) \|$", text, flags=re.MULTILINE))


def option_names(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("readme", READMES)
def test_the_table_of_commands_is_the_program(readme: str) -> None:
    """A command without a row, or a row without a command, fails."""
    assert set(command_rows(read(readme))) == set(commands())


@pytest.mark.parametrize("readme", READMES)
def test_options_in_the_table_exist(readme: str) -> None:
    """An option named beside a command is an option of that command."""
    program = commands()
    for words, description in command_rows(read(readme)).items():
        named = set(re.findall(r"`(--[a-z-]+)`", description))
        assert named - option_names(program[words]) == set(), words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_command_lines_in_code_exist(document: str) -> None:
    """Each `tingbo …` in code is a command, and its options are that command's options."""
    program = commands()
    code = re.findall(r"`{1,3}[^`]+`{1,3}", read(document))
    lines = [line for block in code for line in block.strip("`").splitlines()]
    for line in lines:
        call = re.search(r"(?:^|/|\| *)tingbo ([a-z].*)", line)
        if call is None:
            continue
        words, options = call[1].split(), set(re.findall(r"--[a-z-]+", call[1]))
        found = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in program), None)
        assert found is not None, line
        assert options <= option_names(program[found]), line


@pytest.mark.parametrize("words", sorted(commands()))
def test_every_command_and_option_has_help(words: str) -> None:
    """`--help` says in a sentence what the command and each of its options do."""
    command = commands()[words]
    assert len((command.help or "").strip()) > 10
    shown = [item for item in command.params if not getattr(item, "hidden", False)]
    assert [item.name for item in shown if not getattr(item, "help", None)] == []


@pytest.mark.parametrize("readme", READMES)
def test_exit_codes_are_documented(readme: str) -> None:
    """The table of exit codes has exactly the codes that the program uses."""
    documented = re.findall(r"^\| (\d) \| .+ \|$", read(readme), flags=re.MULTILINE)
    assert [int(code) for code in documented] == sorted(ExitCode)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    """Each `make …` in the documents is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", read(document), flags=re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("document", [*DOCUMENTS, "tests/bench/README.md"])
def test_links_lead_to_files(document: str) -> None:
    """A relative link in a document leads to a file of the project."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", read(document))
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_setting_variables_exist(document: str) -> None:
    """Each TINGBO_… variable in the documents is a setting."""
    from dataclasses import fields

    from pipeline.settings import ENVIRONMENT_PREFIX, Settings

    known = {ENVIRONMENT_PREFIX + field.name.upper() for field in fields(Settings)}
    assert set(re.findall(r"TINGBO_[A-Z_]+[A-Z]", read(document))) - known == set()

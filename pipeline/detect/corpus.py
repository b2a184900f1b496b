"""Labelled broadcasts: what the classifier learns from and is measured on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadInputError
from pipeline.records import Category

LABELS = {
    "PRICE": Category.FALSE_PRICE_COMPARISON,
    "DISP": Category.COMPETITOR_DISPARAGEMENT,
    "OFFS": Category.OFF_PLATFORM_SOLICITATION,
    "EFFI": Category.EFFICACY_CLAIM,
}
NONE = "none"
_LETTERS = {"P": "PRICE", "D": "DISP", "S": "OFFS", "E": "EFFI"}
_SUBTYPE = re.compile(r"[PDSE]\d\d")
_LOOK_ALIKE = "hn:"


@dataclass(frozen=True, slots=True)
class LabelledLine:
    """One utterance and what a person says of it."""

    text: str
    categories: frozenset[Category]
    subtypes: tuple[str, ...] = ()
    look_alike: str = ""
    """What a harmless line resembles, "OFFS:refusal"; "" for plain talk and for violations."""
    claim: str = ""
    """The same for lines of a broadcast that make up one claim; "" for one that stands alone."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Utterances of one room in order; one alone where lines have no context."""

    name: str
    lines: tuple[LabelledLine, ...]
    area: str = ""


def read_corpus(path: Path) -> list[Broadcast]:
    """A file, or every *.tsv of a folder, one broadcast each. BadInputError says where it is wrong.

    Columns: text, label (PRICE, DISP, OFFS, EFFI, joined by commas, or none), subtype or look-alike
    ("-" for nothing), claim. The last two may be missing. "# area: …" names the product area.
    """
    files = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
    if not files:
        raise BadInputError(f"{path} has no *.tsv file: one a broadcast is wanted.")
    return [_broadcast(file) for file in files]


def read_plain(folder: Path) -> list[Broadcast]:
    """Plain talk: the "lines" of every *.toml of a folder, one product area a broadcast.

    They were written for the speech model and break no rule; without them a classifier knows only
    broadcasts in which every third line does.
    """
    return [
        Broadcast(
            path.stem,
            tuple(
                LabelledLine(text, frozenset())
                for text in tomllib.loads(path.read_text(encoding="utf-8"))["lines"]
            ),
            path.stem,
        )
        for path in sorted(folder.glob("*.toml"))
    ]


def _broadcast(path: Path) -> Broadcast:
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError(f"There is no file {path}: name a labelled TSV.") from None
    except UnicodeDecodeError as fault:
        raise BadInputError(f"{path} is not UTF-8 at byte {fault.start}: convert it.") from None
    area, lines = "", []
    for number, row in enumerate(content.splitlines(), 1):
        if row.startswith("#"):
            area = row.removeprefix("# area:").strip() if row.startswith("# area:") else area
        elif row.strip():
            lines.append(_line(row, f"{path}, line {number}"))
    return Broadcast(path.stem, tuple(lines), area)


def _line(row: str, where: str) -> LabelledLine:
    columns = [column.strip() for column in row.split("\t")]
    if len(columns) < 2:
        raise BadInputError(f"{where} has no label: write TEXT<TAB>LABEL, the label none or PRICE.")
    text, label, kind, claim = (*columns[:4], *["-"] * (4 - len(columns[:4])))
    names = [] if label == NONE else label.split(",")
    unknown = [name for name in names if name not in LABELS]
    if unknown:
        allowed = ", ".join([*LABELS, NONE])
        raise BadInputError(f"{where} has the label {unknown[0]!r}: use {allowed}.")
    subtypes = tuple(_SUBTYPE.findall(kind)) if names else ()
    foreign = [subtype for subtype in subtypes if _LETTERS[subtype[0]] not in names]
    if foreign:
        raise BadInputError(f"{where}: subtype {foreign[0]} does not go with the label {label}.")
    alike = kind.removeprefix(_LOOK_ALIKE) if not names and kind != "-" else ""
    categories = frozenset(LABELS[name] for name in names)
    return LabelledLine(text, categories, subtypes, alike, "" if claim == "-" else claim)


def claims(broadcast: Broadcast) -> Iterator[tuple[Category, Sequence[int]]]:
    """Every claim that is spread over lines: its category and the numbers of its lines."""
    rows: dict[str, list[int]] = {}
    for number, line in enumerate(broadcast.lines):
        if line.claim and line.categories:
            rows.setdefault(line.claim, []).append(number)
    for numbers in rows.values():
        shared = frozenset.intersection(*(broadcast.lines[i].categories for i in numbers))
        for category in sorted(shared):
            yield category, numbers


def alone(broadcasts: Sequence[Broadcast]) -> list[Broadcast]:
    """Every line as a broadcast of its own, for lines that have no context."""
    return [
        Broadcast(f"{broadcast.name}:{number}", (line,), broadcast.area)
        for broadcast in broadcasts
        for number, line in enumerate(broadcast.lines, 1)
    ]

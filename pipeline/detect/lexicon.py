"""Loading of rule packs: TOML files in, a frozen RulePack out, or RulePackError and nothing."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.detect.basis import BasisBook, Provision, overlapping
from pipeline.detect.fields import FieldError, Fields
from pipeline.detect.pack import Rule, RulePack, index_of
from pipeline.detect.patterns import PatternError
from pipeline.detect.reading import Shared, read_act, read_classes, read_provision, read_rule
from pipeline.errors import RulePackError
from pipeline.records import Category
from pipeline.resources import resource

T = TypeVar("T")

#: Files of a pack that hold no rules.
_PACK, _CLASSES, _ACTS, _BASIS = "pack.toml", "classes.toml", "acts.toml", "basis.toml"
_SHARED = (_PACK, _CLASSES, _ACTS, _BASIS)


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a pack."""

    name: str
    content: bytes
    table: dict[str, Any]

    def read(self, build: Callable[[], T], item: str = "") -> T:
        """`build()`; what is wrong with it is told with the file, the line and the item."""
        try:
            return build()
        except (FieldError, PatternError) as error:
            raise self.refusal(str(error), item) from error

    def each(self, kind: str, key: str, build: Callable[[Any], T]) -> list[tuple[str, T]]:
        """(id, `build(table)`) of every [[kind]] table, in order."""
        items = self.table.get(kind)
        if not isinstance(items, list) or not items:
            raise RulePackError(f"{self.name} has no [[{kind}]] tables: add one.")
        built = []
        for number, item in enumerate(items, 1):
            name = str(item.get(key) or f"number {number}") if isinstance(item, dict) else ""
            built.append((name, self.read(partial(build, item), name)))
        return built

    def refusal(self, reason: str, item: str = "") -> RulePackError:
        """The error that names this file, the line of `item` where it is found, and the reason."""
        where = self.name
        quoted = re.search(rf'=\s*["\']{re.escape(item)}["\']', self.content.decode("utf-8"))
        if item and quoted:
            line = self.content.decode("utf-8").count("\n", 0, quoted.start()) + 1
            where += f", line {line}"
        return RulePackError(f"{where}{', ' + item if item else ''}: {reason}; correct it.")


def load_rule_pack(folder: Path | None = None) -> RulePack:
    """Load the pack in `folder`, by default the bundled one.

    Raises RulePackError, which names the file, the line of the rule and the reason.
    """
    files = _files(folder or resource("lexicons"))
    pack = files[_PACK]
    version = pack.read(lambda: Fields(pack.table).text("version"))
    classes = files[_CLASSES].read(lambda: read_classes(files[_CLASSES].table))
    acts = files[_ACTS].each("act", "name", lambda item: read_act(item, classes))
    shared = Shared(classes, dict(acts), _book(files[_BASIS]))
    rules = _rules([file for name, file in files.items() if name not in _SHARED], shared)
    return RulePack(
        version, _digest(files.values()), rules, shared.acts, shared.basis, index_of(rules)
    )


def _files(folder: Path) -> dict[str, _File]:
    try:
        contents = {file.name: file.read_bytes() for file in sorted(folder.glob("*.toml"))}
    except OSError as error:
        raise RulePackError(
            f"Rule pack {folder} cannot be read ({error.strerror}): check its permissions."
        ) from error
    for name in _SHARED:
        if name not in contents:
            raise RulePackError(f"Rule pack {folder} has no {name}: give a folder that has one.")
    return {name: _File(name, content, _table(name, content)) for name, content in contents.items()}


def _table(name: str, content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise RulePackError(f"{name} is not valid TOML ({error}): correct it.") from error


def _rules(files: list[_File], shared: Shared) -> tuple[Rule, ...]:
    rules: dict[str, Rule] = {}
    for file in files:
        for id_, rule in _rules_of(file, shared):
            if id_ in rules:
                raise file.refusal("another rule has this id", id_)
            rules[id_] = rule
    if not rules:
        raise RulePackError("This rule pack has no rules: add a file with [[rule]] tables.")
    return tuple(rules.values())


def _rules_of(file: _File, shared: Shared) -> list[tuple[str, Rule]]:
    category = file.read(lambda: _category(file))
    return file.each("rule", "id", lambda item: read_rule(item, category, shared))


def _category(file: _File) -> Category:
    return Category(Fields(file.table).choice("category", [item.value for item in Category]))


def _book(file: _File) -> BasisBook:
    versions: dict[str, tuple[Provision, ...]] = {}
    for id_, provision in file.each("basis", "id", read_provision):
        versions[id_] = (*versions.get(id_, ()), provision)
        clash = overlapping(versions[id_])
        if clash:
            dates = " and ".join(str(version.basis.effective_from) for version in clash)
            raise file.refusal(f"its versions from {dates} hold on the same day", id_)
    return BasisBook(versions)


def _digest(files: Any) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"%s\0%d\0%s" % (file.name.encode(), len(file.content), file.content))
    return digest.hexdigest()

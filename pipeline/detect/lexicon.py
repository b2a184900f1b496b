"""Loading of rule packs: TOML files in, a frozen RulePack out, or RulePackError and nothing."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.detect.allow import allow_list
from pipeline.detect.basis import BasisBook, Provision, overlapping
from pipeline.detect.fields import FieldError, Fields
from pipeline.detect.morphs import read_morphs
from pipeline.detect.pack import Rule, RulePack, index_of
from pipeline.detect.patterns import PatternError
from pipeline.detect.reading import (
    Shared,
    read_act,
    read_allowed,
    read_classes,
    read_head,
    read_provision,
    read_rule,
    read_target,
    read_topics,
)
from pipeline.detect.wordclasses import word_classes
from pipeline.errors import RulePackError
from pipeline.resources import resource

T = TypeVar("T")

#: Files of a pack that hold no rules.
_PACK, _CLASSES, _ACTS, _BASIS = "pack.toml", "classes.toml", "acts.toml", "basis.toml"
_MORPHS, _ALLOW = "morphs.toml", "allow.toml"
_SHARED = (_PACK, _CLASSES, _ACTS, _BASIS, _MORPHS, _ALLOW)
#: Folder of the rules that are off unless their pack is named.
EXTRA = "extra"

_NUMBERED = re.compile(r"(\w+) (\d+): ")


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

    def each(
        self, kind: str, key: str, build: Callable[[Any], T], at_least: int = 1
    ) -> list[tuple[str, T]]:
        """(id, `build(table)`) of every [[kind]] table, in order."""
        items = self.table.get(kind, [])
        if not isinstance(items, list) or len(items) < at_least:
            raise RulePackError(f"{self.name} has no [[{kind}]] tables: add one.")
        built = []
        for number, item in enumerate(items, 1):
            name = str(item.get(key, "")) if isinstance(item, dict) else ""
            name = name or f"{kind} {number}"
            built.append((name, self.read(partial(build, item), name)))
        return built

    def refusal(self, reason: str, item: str = "") -> RulePackError:
        """The error that names this file, the line where `item` or the key begins, the reason."""
        line = self._line(reason, item)
        where = f"{self.name}, line {line}" if line else self.name
        return RulePackError(f"{where}{', ' + item if item else ''}: {reason}; correct it.")

    def _line(self, reason: str, item: str) -> int:
        """Of the table with this id or number, else of what the reason names; 0: unknown."""
        text = self.content.decode("utf-8")
        numbered = _NUMBERED.match(f"{item}: ") or _NUMBERED.match(reason)
        patterns = [rf'=\s*["\']{re.escape(item)}["\']'] if item else []
        if numbered:
            before = rf"(?:^[ \t]*\[\[{numbered[1]}\]\].*?){{{int(numbered[2]) - 1}}}"
            patterns.append(rf"(?s:{before})^[ \t]*\[\[{numbered[1]}\]\]")
        patterns += [f'"{re.escape(value)}"' for value in re.findall(r"'([^']+)'", reason)]
        patterns += [rf"^[ \t]*{key}[ \t]*=" for key in re.findall(r"\w+", reason)]
        found = next(filter(None, (re.search(one, text, re.MULTILINE) for one in patterns)), None)
        return text.count("\n", 0, found.end()) + 1 if found else 0


def load_rule_pack(folder: Path | None = None, packs: Sequence[str] = ()) -> RulePack:
    """Load the rules in `folder`, by default the bundled ones, with the extra `packs` it has.

    Raises RulePackError, which names the file, the line of the rule and the reason.
    """
    folder = folder or resource("lexicons")
    files = _files(folder)
    rule_files = [file for name, file in files.items() if name not in _SHARED]
    rule_files += _enabled(_extra_files(folder), packs) if packs else []
    shared = _shared(files)
    rules = _rules(rule_files, shared)
    allowed = files[_ALLOW].each("allow", "reason", read_allowed, at_least=0)
    return RulePack(
        version=files[_PACK].read(lambda: Fields(files[_PACK].table).text("version")),
        content_hash=_digest([*(files[name] for name in files if name in _SHARED), *rule_files]),
        rules=rules,
        acts=shared.acts,
        targets=shared.targets,
        topics=files[_ACTS].read(lambda: read_topics(files[_ACTS].table, shared.classes)),
        basis=shared.basis,
        classes=word_classes(shared.classes),
        morphs=files[_MORPHS].read(lambda: read_morphs(files[_MORPHS].table)),
        allow=allow_list(entry for _, entry in allowed),
        index=index_of(rule.patterns for rule in rules),
        earlier_index=index_of(rule.earlier for rule in rules),
    )


def extra_packs(folder: Path | None = None) -> tuple[str, ...]:
    """Names of the packs that `load_rule_pack` loads only when they are named."""
    return tuple(sorted({pack for pack, _ in _extra_files(folder or resource("lexicons"))}))


def _shared(files: dict[str, _File]) -> Shared:
    classes = files[_CLASSES].read(lambda: read_classes(files[_CLASSES].table))
    acts = files[_ACTS].each("act", "name", lambda item: read_act(item, classes))
    targets = files[_ACTS].each("target", "name", lambda item: read_target(item, classes), 0)
    return Shared(classes, dict(acts), tuple(one for _, one in targets), _book(files[_BASIS]))


def _files(folder: Path) -> dict[str, _File]:
    if not folder.is_dir():
        raise RulePackError(
            f"Rule pack {folder} is not a folder: set lexicons_dir to a copy of the bundled one "
            "(`tingbo doctor` names it) or leave it out."
        )
    files = _toml_files(folder, "")
    for name in _SHARED:
        if name not in files:
            raise RulePackError(f"Rule pack {folder} has no {name}: give a folder that has one.")
    return files


def _toml_files(folder: Path, prefix: str) -> dict[str, _File]:
    try:
        contents = {prefix + file.name: file.read_bytes() for file in sorted(folder.glob("*.toml"))}
    except OSError as error:
        raise RulePackError(
            f"Rule pack {folder} cannot be read ({error.strerror}): check its permissions."
        ) from error
    return {name: _File(name, content, _table(name, content)) for name, content in contents.items()}


def _table(name: str, content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise RulePackError(f"{name} is not valid TOML ({error}): correct it.") from error


def _extra_files(folder: Path) -> list[tuple[str, _File]]:
    """The files of the folder of extra packs, each with the name of its pack."""
    files = _toml_files(folder / EXTRA, f"{EXTRA}/").values()
    return [(file.read(partial(Fields(file.table).text, "pack")), file) for file in files]


def _enabled(extra: list[tuple[str, _File]], packs: Iterable[str]) -> list[_File]:
    known = {pack for pack, _ in extra}
    for name in packs:
        if name not in known:
            names = ", ".join(sorted(known)) or "none, as there is none"
            raise RulePackError(
                f"There is no extra rule pack {name}: the setting packs may name {names}."
            )
    return [file for pack, file in extra if pack in packs]


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
    is_extra = file.name.startswith(f"{EXTRA}/")
    head = file.read(lambda: read_head(file.table, is_extra=is_extra))
    return file.each("rule", "id", lambda item: read_rule(item, head, shared))


def _book(file: _File) -> BasisBook:
    versions: dict[str, tuple[Provision, ...]] = {}
    for id_, provision in file.each("basis", "id", read_provision):
        versions[id_] = (*versions.get(id_, ()), provision)
        clash = overlapping(versions[id_])
        if clash:
            dates = " and ".join(str(version.basis.effective_from) for version in clash)
            raise file.refusal(f"its versions from {dates} hold on the same day", id_)
    return BasisBook(versions)


def _digest(files: Iterable[_File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(b"%s\0%d\0%s" % (file.name.encode(), len(file.content), file.content))
    return digest.hexdigest()

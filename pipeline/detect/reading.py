"""TOML tables of a rule pack → rules, speech acts, word classes, provisions, allowed wordings.

Everything here raises FieldError or PatternError; lexicon.py adds the file and the line.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.detect.acts import ActExample, Case, Effect, SpeechAct, TargetWords
from pipeline.detect.allow import Allowed
from pipeline.detect.basis import BasisBook, Provision
from pipeline.detect.fields import FieldError, Fields
from pipeline.detect.normalize import normal_form
from pipeline.detect.pack import FlagExample, PassExample, Rule, RuleStatus
from pipeline.detect.patterns import (
    Classes,
    Pattern,
    compile_alternatives,
    compile_ending,
    compile_pattern,
)
from pipeline.records import SUBTYPE_LETTERS, Basis, Category

_KINDS = ("law", "regulation", "interpretation", "platform_rule")
_TARGETS = ("own", "other_channel", "peer", "peers", "platform", "audience", "none")
_MIN_EXAMPLES = 3
#: No rule may look further back than this, in seconds: it is what the workers read as context.
MAX_WITHIN_S = 120
_COMPARISON = re.compile(r"(\w+) > (\w+)")
_INCLUDE = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True, slots=True)
class Shared:
    """What the rules of a pack refer to."""

    classes: Classes
    acts: Mapping[str, SpeechAct]
    targets: tuple[TargetWords, ...]
    basis: BasisBook


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of all its rules."""

    category: Category
    status: RuleStatus


def read_head(table: dict[str, Any], *, is_extra: bool) -> Head:
    """The keys of a file of rules beside its rules; a file of an extra pack names the pack."""
    fields = Fields({key: value for key, value in table.items() if key != "rule"})
    if is_extra:
        fields.text("pack")
    category = Category(fields.choice("category", list(Category)))
    status = _status(fields, RuleStatus.ACTIVE)
    fields.finish()
    return Head(category, status)


def _status(fields: Fields, default: RuleStatus) -> RuleStatus:
    return RuleStatus(fields.choice("status", list(RuleStatus), default))


def read_classes(table: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Word classes in normal form; "[name]" in a class includes another one."""
    fields = Fields(table)
    raw = Fields(fields.table("classes"))
    words = {name: raw.texts(name, 1) for name in raw.names()}
    fields.finish()
    return {name: tuple(sorted(_words(name, words, ()))) for name in words}


def _words(name: str, words: Mapping[str, tuple[str, ...]], path: tuple[str, ...]) -> set[str]:
    if name in path:
        raise FieldError(f"class {name} includes itself")
    if name not in words:
        raise FieldError(f"class {path[-1]} includes the unknown class {name}")
    found: set[str] = set()
    for word in words[name]:
        include = _INCLUDE.fullmatch(word)
        if include:
            found |= _words(include[1], words, (*path, name))
        elif normal := normal_form(word):
            found.add(normal)
        else:
            raise FieldError(f"class {name} has {word!r}, which is never matched")
    return found


def read_act(table: Any, classes: Classes) -> SpeechAct:
    """A speech act with its cases."""
    fields = Fields(table)
    name = fields.text("name")
    cases = fields.each("case", 1, lambda item: _case(item, classes))
    effect = Effect(fields.choice("effect", list(Effect), Effect.EXCUSES))
    examples = (
        *fields.each("said", 0, lambda item: _act_example(item, is_said=True)),
        *fields.each("not_said", 0, lambda item: _act_example(item, is_said=False)),
    )
    fields.finish()
    return SpeechAct(name, cases, effect, examples)


def _act_example(value: Any, *, is_said: bool) -> ActExample:
    text, words = _pair(value)
    if words not in text:
        raise FieldError(f"{words!r} is not in the text {text!r}")
    return ActExample(text, words, is_said)


def _pair(value: Any) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(v, str) for v in value):
        raise FieldError(f"{value!r} is not a pair of texts")
    return value[0], value[1]


def read_target(table: Any, classes: Classes) -> TargetWords:
    """Words that tell a target."""
    fields = Fields(table)
    name = fields.choice("name", _TARGETS)
    of = frozenset(fields.each("of", 1, _target))
    words = compile_alternatives(fields.texts("words", 1), classes)
    examples = fields.each("said", 1, _pair)
    fields.finish()
    if words is None:  # `texts` has seen to it
        raise FieldError("words is empty")
    return TargetWords(name, of, words, examples)


def read_topics(table: dict[str, Any], classes: Classes) -> dict[Category, re.Pattern[str]]:
    """[topics] of a file of speech acts; none where it has none."""
    raw = Fields(table.get("topics", {}), "topics")
    found = {}
    for category in Category:
        words = compile_alternatives(raw.texts(category.value), classes)
        if words is not None:
            found[category] = words
    raw.finish()
    return found


def _target(value: Any) -> str:
    if value not in _TARGETS:
        raise FieldError(f"{value!r} is not one of {', '.join(_TARGETS)}")
    return str(value)


def _case(table: Any, classes: Classes) -> Case:
    fields = Fields(table)
    parts = {
        key: compile_alternatives(fields.texts(key), classes)
        for key in ("inside", "after", "around", "unless")
    }
    before = compile_ending(fields.texts("before"), classes)
    fields.finish()
    if before is None and not any(parts[key] for key in ("inside", "after", "around")):
        raise FieldError("needs before, inside, after or around")
    return Case(before=before, **parts)


def read_provision(table: Any) -> Provision:
    """One version of one article."""
    fields = Fields(table)
    basis = Basis(
        fields.text("id"),
        fields.text("title"),
        fields.text("article"),
        fields.date("effective_from"),
        fields.maybe_date("effective_to"),
        fields.text("source"),
        fields.text("link", ""),
        fields.flag("verified"),
    )
    provision = Provision(
        basis,
        fields.choice("kind", _KINDS),
        fields.text("summary"),
        fields.date("checked_on"),
    )
    fields.finish()
    if basis.effective_to is not None and basis.effective_to <= basis.effective_from:
        raise FieldError("effective_to must be after effective_from")
    if basis.link and not basis.link.startswith("https://"):
        raise FieldError(f"link is {basis.link!r}, not an https address or empty")
    return provision


def read_allowed(table: Any) -> Allowed:
    """Wordings that override rules."""
    fields = Fields(table)
    words = tuple(normal_form(word) for word in fields.texts("words", 1))
    allowed = Allowed(words, fields.text("reason"), fields.text("source"), fields.texts("pass", 1))
    fields.finish()
    if not all(words):
        raise FieldError("words has one of which nothing is left in normal form")
    return allowed


def read_rule(table: Any, head: Head, shared: Shared) -> Rule:
    """A rule, compiled, with everything it names checked."""
    fields = Fields(table)
    acts = _acts(fields, shared.acts)
    rule = Rule(
        id=fields.text("id"),
        category=head.category,
        subtype=_subtype(fields.text("subtype"), head.category),
        status=_status(fields, head.status),
        severity=fields.whole("severity", 1, 4),
        score=fields.share("score"),
        patterns=_patterns(fields, "patterns", 1, shared.classes),
        earlier=_patterns(fields, "earlier", 0, shared.classes),
        within_ms=fields.whole("within_s", 1, MAX_WITHIN_S, 60) * 1000,
        compare=fields.each("compare", 0, _comparison),
        exceptions=compile_alternatives(fields.texts("exceptions"), shared.classes),
        excused_by=tuple(act for act in acts if act.effect is Effect.EXCUSES),
        noted=tuple(act for act in acts if act.effect is not Effect.EXCUSES),
        target=fields.choice("target", _TARGETS, "none"),
        why=_why(fields.text("why")),
        basis=_basis(fields, shared.basis),
        facts_to_check=fields.texts("facts_to_check", 1),
        suggestion=fields.text("suggestion"),
        flag=fields.each("flag", _MIN_EXAMPLES, _flag),
        passes=fields.each("pass", _MIN_EXAMPLES, _pass),
    )
    fields.finish()
    _check_names(rule)
    return rule


def _subtype(text: str, category: Category) -> str:
    letter = SUBTYPE_LETTERS[category]
    if not re.fullmatch(rf"{letter}\d\d", text):
        raise FieldError(f"subtype is {text!r}, not {letter} and two digits")
    return text


def _patterns(fields: Fields, key: str, at_least: int, classes: Classes) -> tuple[Pattern, ...]:
    return tuple(compile_pattern(source, classes) for source in fields.texts(key, at_least))


def _comparison(value: Any) -> tuple[str, str]:
    found = _COMPARISON.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise FieldError(f'{value!r} is not of the form "high > low"')
    return found[1], found[2]


def _check_names(rule: Rule) -> None:
    """A comparison that no match can fill would silently hold for ever."""
    names = {name for pattern in (*rule.patterns, *rule.earlier) for name in pattern.names}
    for name in (name for pair in rule.compare for name in pair):
        if name not in names:
            raise FieldError(f"compare names {name}, which no pattern has")


def _acts(fields: Fields, acts: Mapping[str, SpeechAct]) -> tuple[SpeechAct, ...]:
    """The acts that a rule regards: all of the pack, but for those in `not_excused_by`."""
    excluded = fields.texts("not_excused_by")
    for name in excluded:
        if name not in acts:
            raise FieldError(f"not_excused_by names the unknown act {name}")
    return tuple(act for name, act in acts.items() if name not in excluded)


def _why(text: str) -> str:
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    if names - {"evidence"}:
        raise FieldError("why may name {evidence} only")
    return text


def _basis(fields: Fields, book: BasisBook) -> tuple[str, ...]:
    ids = fields.texts("basis", 1)
    for id_ in ids:
        if id_ not in book.versions:
            raise FieldError(f"basis names {id_}, which basis.toml does not have")
    return ids


def _flag(value: Any) -> FlagExample:
    fields = Fields(value)
    example = FlagExample(fields.text("text"), fields.text("span_text"), fields.texts("earlier"))
    fields.finish()
    if example.span_text not in example.text:
        raise FieldError(f"span_text {example.span_text!r} is not in the text")
    return example


def _pass(value: Any) -> PassExample:
    if isinstance(value, str):
        return PassExample(value)
    fields = Fields(value)
    example = PassExample(fields.text("text"), fields.texts("earlier"))
    fields.finish()
    return example

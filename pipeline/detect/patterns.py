"""The language of rule patterns, and its way to regular expressions.

A pattern is matched on the normal form of a text:

    词          these characters
    [class]     a word of that class of lexicons/classes.toml
    <price>     a number in that role (numbers.SLOTS); <price:high> names it for `compare`
    ~ … ……      a gap of up to 3, 12 or 40 characters
    (a|b)       one of these; (a)? [class]? <slot>? 词? may be left out, of 那会儿? only 儿
    !(a|b)      none of these follows
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pipeline.detect.normalize import normal_form
from pipeline.detect.numbers import SLOTS

_GAPS = {"~": 3, "…": 12, "……": 40}
_PLAIN = r"[^\[\]<>()|?!~…]"
_TOKEN = re.compile(
    r"(?P<gap>……|…|~)|\[(?P<word_class>\w+)\]|<(?P<slot>\w+)(?::(?P<name>\w+))?>"
    r"|(?P<open>!?\()|(?P<bar>\|)|(?P<close>\))|(?P<maybe>\?)"
    # The character before a question mark stands alone: it alone may be left out.
    rf"|(?P<literal>{_PLAIN}+(?={_PLAIN}\?)|{_PLAIN}+)"
)
_NAME = re.compile(r"\(\?P<(\w+)>")
_NO_ANCHOR: frozenset[str] = frozenset()

Classes = Mapping[str, tuple[str, ...]]


class PatternError(ValueError):
    """Raised when a pattern cannot be understood; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that is understood; its regular expression is compiled when first asked for."""

    source: str
    text: str
    """Of the regular expression."""
    anchors: frozenset[str]
    """The pattern matches only where at least one of these words stands; never empty."""
    names: frozenset[str]
    """Named slots."""

    @property
    def regex(self) -> re.Pattern[str]:
        """Every word and number that is matched is a group."""
        return _compiled(self.text)


@dataclass(frozen=True, slots=True)
class _Part:
    regex: str
    anchors: frozenset[str] = _NO_ANCHOR
    """Empty: it says nothing about the words in the text."""


def compile_pattern(source: str, classes: Classes) -> Pattern:
    """One pattern. Raises PatternError."""
    part = _parse(source, classes)
    if not part.anchors:
        raise PatternError(f"pattern {source!r} has no word that is always there")
    names = _NAME.findall(part.regex)
    if len(set(names)) < len(names):
        raise PatternError(f"pattern {source!r} gives one name to two slots")
    return Pattern(source, part.regex, part.anchors, frozenset(names))


@cache
def _compiled(text: str) -> re.Pattern[str]:
    # Most of the many patterns of a pack never meet their words: compiling all of them at once
    # took longer than everything else at the start.
    return re.compile(text, re.DOTALL)


def compile_alternatives(sources: tuple[str, ...], classes: Classes) -> re.Pattern[str] | None:
    """One regular expression for any of `sources`, which may lack anchors; None for none."""
    if not sources:
        return None
    return _regex("|".join(_parse(source, classes).regex for source in sources), str(sources))


def compile_ending(sources: tuple[str, ...], classes: Classes) -> re.Pattern[str] | None:
    """As `compile_alternatives`, for matches that end where the searched text ends."""
    if not sources:
        return None
    parts = "|".join(_parse(source, classes).regex for source in sources)
    return _regex(rf"(?:{parts})\Z", str(sources))


def _regex(text: str, source: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise PatternError(f"pattern {source!r} does not compile ({error})") from error


def _parse(source: str, classes: Classes) -> _Part:
    parser = _Parser(source, classes)
    part = parser.alternatives()
    if parser.token is not None:
        raise PatternError(f"pattern {source!r} has an extra {parser.token[0]!r}")
    return part


class _Parser:
    """Recursive descent over the tokens of one pattern."""

    def __init__(self, source: str, classes: Classes) -> None:
        self._source = source
        self._classes = classes
        self._tokens = _tokens(source)
        self._next = 0

    @property
    def token(self) -> re.Match[str] | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def alternatives(self) -> _Part:
        parts = [self._sequence()]
        while (token := self.token) is not None and token.lastgroup == "bar":
            self._next += 1
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        anchors = [part.anchors for part in parts]
        return _Part(
            "(?:" + "|".join(part.regex for part in parts) + ")",
            frozenset().union(*anchors) if all(anchors) else _NO_ANCHOR,
        )

    def _sequence(self) -> _Part:
        parts = []
        while (token := self.token) is not None and token.lastgroup not in ("bar", "close"):
            parts.append(self._item(token))
        if not parts:
            raise PatternError(f"pattern {self._source!r} has an empty part")
        return _Part("".join(part.regex for part in parts), _best(parts))

    def _item(self, token: re.Match[str]) -> _Part:
        self._next += 1
        part = self._group(token) if token["open"] else self._leaf(token)
        follows = self.token
        if follows is not None and follows.lastgroup == "maybe":
            self._next += 1
            return _Part(f"(?:{part.regex})?")
        return part

    def _group(self, token: re.Match[str]) -> _Part:
        part = self.alternatives()
        closing = self.token
        if closing is None or closing.lastgroup != "close":
            raise PatternError(f"pattern {self._source!r} lacks a closing parenthesis")
        self._next += 1
        return _Part(f"(?!{part.regex})") if token["open"] == "!(" else part

    def _leaf(self, token: re.Match[str]) -> _Part:
        if token["gap"]:
            return _Part(f".{{0,{_GAPS[token['gap']]}}}?")
        if token["word_class"]:
            return self._word_class(token["word_class"])
        if token["slot"]:
            return self._slot(token)
        if token["literal"]:
            return self._literal(token["literal"])
        raise PatternError(f"pattern {self._source!r} has a stray {token[0]!r}")

    def _word_class(self, name: str) -> _Part:
        if name not in self._classes:
            raise PatternError(f"pattern {self._source!r} names an unknown class [{name}]")
        words = sorted(self._classes[name], key=lambda word: (-len(word), word))
        return _Part("(" + "|".join(map(re.escape, words)) + ")", frozenset(words))

    def _slot(self, token: re.Match[str]) -> _Part:
        if token["slot"] not in SLOTS:
            known = ", ".join(SLOTS)
            raise PatternError(
                f"pattern {self._source!r} names an unknown slot <{token['slot']}>, not {known}"
            )
        opening = f"(?P<{token['name']}>" if token["name"] else "("
        return _Part(f"{opening}{SLOTS[token['slot']]})")

    def _literal(self, text: str) -> _Part:
        word = normal_form(text)
        if not word:
            raise PatternError(f"pattern {self._source!r} has {text!r}, which is never matched")
        return _Part(f"({re.escape(word)})", frozenset({word}))


def _tokens(source: str) -> list[re.Match[str]]:
    tokens = []
    at = 0
    while at < len(source):
        token = _TOKEN.match(source, at)
        if token is None:
            raise PatternError(f"pattern {source!r} is not understood from {source[at:]!r} on")
        tokens.append(token)
        at = token.end()
    return tokens


def _best(parts: list[_Part]) -> frozenset[str]:
    """The anchors that fewest texts have: long words, then few of them."""
    anchored = [part.anchors for part in parts if part.anchors]
    return max(anchored, key=_rarity, default=_NO_ANCHOR)


def _rarity(anchors: frozenset[str]) -> tuple[int, int]:
    return min(map(len, anchors)), -len(anchors)

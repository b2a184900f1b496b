"""`tingbo check`: lines of text in, each line with its findings out, in order and without loss."""

from __future__ import annotations

import codecs
import datetime as dt
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.codec import plain
from pipeline.detect.detector import Detected, Detector
from pipeline.detect.excused import Excused
from pipeline.detect.talk import Talk
from pipeline.errors import BadInputError
from pipeline.records import Finding, Utterance

#: A line longer than this, in bytes, is refused: it is no utterance, and memory stays constant.
MAX_LINE_BYTES = 16 * 1024 * 1024

#: A line without a time is taken to last this long per character, and at least this long.
MS_PER_CHARACTER = 220
_MIN_LINE_MS = 800

#: A line with more characters than are said in half a minute is judged in pieces of this length:
#: rules, and the time they take, are for utterances.
_LONGEST = 240
_PIECE = 100
#: Pieces end where a sentence does; where none does, the next one begins so much before the end.
_OVERLAP = 50
_SENTENCE_END = re.compile(r"[。!！?？;；]")

_TIMED = re.compile(r"\s*(\d{1,12})\t(.*)", re.DOTALL)
_TABBED = re.compile(r"\s*\S[^\t]*\t")
_HAN = re.compile(r"[\u4e00-\u9fff]")

_KEYS = ("category", "subtype", "rule", "score", "verdict", "span", "evidence", "why")


@dataclass(frozen=True, slots=True)
class CheckedLine:
    """One line of the input with what was found in it."""

    line: int
    """Counts from 1."""
    start_ms: int
    """As given, else estimated from the length of the lines before."""
    text: str
    """Without the time and the line end; spans count in it."""
    findings: tuple[Finding, ...]
    error: str = ""
    """What was wrong with the line, one sentence; the line was read as well as it could be."""
    excused: tuple[Excused, ...] = ()
    """What rules know in it and was let pass, with the reason."""

    def explained(self) -> dict[str, Any]:
        """The object of one line of `tingbo check --json --explain`: findings with all they have,
        and what was let pass."""
        return self.plain() | {"findings": plain(self.findings), "excused": plain(self.excused)}

    def plain(self) -> dict[str, Any]:
        """The object of one line of `tingbo check --json`."""
        findings = [plain(finding) for finding in self.findings]
        return {
            "line": self.line,
            "start_ms": self.start_ms,
            "text": self.text,
            "findings": [{key: finding[key] for key in _KEYS} for finding in findings],
        }


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    time: int | None
    text: str
    error: str


@contextmanager
def opened_text(file: str) -> Iterator[BinaryIO]:
    """The bytes of a text file, or of standard input for "-". Raises BadInputError."""
    if file == "-":
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise BadInputError(
                f"{file} cannot be read ({error.strerror}): "
                "give a text file, or - for standard input."
            ) from error
        yield stream


def check_lines(
    stream: BinaryIO, detector: Detector, *, independent: bool, on: dt.date
) -> Iterator[CheckedLine]:
    """Every line of a UTF-8 stream with its findings, in constant memory.

    A line is TEXT or START_MS<TAB>TEXT. Consecutive lines are one broadcast, unless `independent`:
    a line is judged with the lines before it and LOOK_AHEAD lines after it, so it is told of when
    these are read. A line whose time goes back has the lines before that time as context. A line
    that is too long to be an utterance is taken as several, and its findings lie in these. A line
    that is not UTF-8 or has other columns is read as well as possible and carries an `error`.
    Raises BadInputError only for a line over MAX_LINE_BYTES.
    """
    judge = _Judge(detector, on, independent=independent)
    try:
        for line in _lines(stream):
            yield from judge.add(line)
    except BadInputError:
        yield from judge.rest()
        raise
    yield from judge.rest()


@dataclass(slots=True)
class _Waiting:
    """A line of which not all pieces are judged."""

    line: _Line
    start_ms: int
    pieces: deque[int]
    """Where those that are not judged begin in its text."""
    findings: list[Finding] = field(default_factory=list)
    excused: list[Excused] = field(default_factory=list)
    seen: int = 0
    """Characters that the pieces judged so far have seen whole."""

    def take(self, piece: Utterance, detected: Detected) -> None:
        """What was found in the next piece; what the one before has seen whole, it has told of."""
        start = self.pieces.popleft()
        excused = (one.moved(start) for one in detected.excused)
        self.excused += [one for one in excused if one.span[1] > self.seen]
        for finding in (_moved(one, start) for one in detected.findings):
            if finding.span[1] > self.seen:
                # Where one piece ended within the words, the next one has them whole.
                while self.findings and _holds(finding, self.findings[-1]):
                    self.findings.pop()
                self.findings.append(finding)
        self.seen = start + len(piece.text)

    def checked(self) -> CheckedLine:
        """The line, when all its pieces are judged."""
        line, found, excused = self.line, tuple(self.findings), tuple(self.excused)
        return CheckedLine(line.number, self.start_ms, line.text, found, line.error, excused)


class _Judge:
    """Lines on their way through: some are judged already, some wait for what follows."""

    def __init__(self, detector: Detector, on: dt.date, *, independent: bool) -> None:
        self._detector, self._on, self._independent = detector, on, independent
        self._talk = Talk(detector, on)
        self._waiting: deque[_Waiting] = deque()
        self._clock = 0

    def add(self, line: _Line) -> Iterator[CheckedLine]:
        """Take a line; what can be told now."""
        start = self._clock if line.time is None else line.time
        self._clock = start + max(_MIN_LINE_MS, len(line.text) * MS_PER_CHARACTER)
        pieces = list(_pieces(Utterance(start, self._clock, line.text)))
        self._waiting.append(_Waiting(line, start, deque(at for at, _ in pieces)))
        for _, piece in pieces:
            yield from self._judged(self._talk.add(piece))
        if self._independent:
            yield from self.rest()
            self._talk = Talk(self._detector, self._on)

    def rest(self) -> Iterator[CheckedLine]:
        """What still waits, with nothing after it."""
        yield from self._judged(self._talk.rest())

    def _judged(self, judged: Iterable[tuple[Utterance, Detected]]) -> Iterator[CheckedLine]:
        for piece, detected in judged:
            first = self._waiting[0]
            first.take(piece, detected)
            if not first.pieces:
                self._waiting.popleft()
                yield first.checked()


def _pieces(line: Utterance) -> Iterator[tuple[int, Utterance]]:
    """The utterances a line is taken as, each with where it begins in the text of the line."""
    text = line.text
    if len(text) <= _LONGEST:
        yield 0, line
        return
    start = 0
    while len(text) - start > _PIECE:
        end = start + _PIECE
        ends = [found.end() for found in _SENTENCE_END.finditer(text, end - _OVERLAP, end)]
        yield start, _part(line, start, ends[-1] if ends else end)
        start = ends[-1] if ends else end - _OVERLAP
    yield start, _part(line, start, len(text))


def _part(line: Utterance, start: int, end: int) -> Utterance:
    lasts_ms, characters = line.end_ms - line.start_ms, len(line.text)
    return Utterance(
        line.start_ms + lasts_ms * start // characters,
        line.start_ms + lasts_ms * end // characters,
        line.text[start:end],
    )


def _holds(whole: Finding, part: Finding) -> bool:
    (start, end), (first, last) = whole.span, part.span
    return whole.category is part.category and start <= first and last <= end


def _moved(finding: Finding, by: int) -> Finding:
    start, end = finding.span
    return replace(finding, span=(start + by, end + by)) if by else finding


def _lines(stream: BinaryIO) -> Iterator[_Line]:
    offset = 0
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise BadInputError(
                f"Line {number} is longer than {MAX_LINE_BYTES // 1024 // 1024} MiB: "
                "put one utterance on a line."
            )
        yield _line(number, raw, offset)
        offset += len(raw)


def _line(number: int, raw: bytes, offset: int) -> _Line:
    error = ""
    body = raw.removesuffix(b"\n").removesuffix(b"\r")
    if number == 1:
        body = body.removeprefix(codecs.BOM_UTF8)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as fault:
        at = fault.start + (3 if number == 1 and raw.startswith(codecs.BOM_UTF8) else 0)
        text = body.decode("utf-8", errors="replace")
        error = (
            f"Line {number} is not UTF-8: byte 0x{raw[at]:02x} at offset {at} of the line "
            f"(byte {offset + at} of the input); {_likely(number, body)}convert the input to UTF-8."
        )
    timed = _TIMED.fullmatch(text)
    if timed:
        return _Line(number, int(timed[1]), timed[2], error or _columns(number, timed[2]))
    if not error and _TABBED.match(text):
        error = (
            f"Line {number} has a tab but does not begin with a time in milliseconds of at most "
            "12 digits, and was read whole; write START_MS<TAB>TEXT or the text alone."
        )
    return _Line(number, None, text, error)


def _columns(number: int, text: str) -> str:
    """What is wrong with the text after the time: a table may have more columns than it."""
    more = text.rstrip("\t").count("\t")
    if not more:
        return ""
    return (
        f"Line {number} has {more + 2} columns, and all after the time was read as its text; "
        "write START_MS<TAB>TEXT."
    )


def _likely(number: int, body: bytes) -> str:
    """The encoding that a line may be in which is not UTF-8, as the beginning of the remedy."""
    if number == 1 and body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it may be UTF-16: "
    if _HAN.search(body.decode("utf-8", errors="ignore")):
        return ""  # UTF-8 with a broken character
    try:
        found = _HAN.search(body.decode("gb18030"))
    except UnicodeDecodeError:
        return ""
    return "it may be GB18030: " if found else ""

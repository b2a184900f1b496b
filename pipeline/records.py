"""What travels between the stages: frozen records, every time in integer milliseconds.

`start_ms` and `end_ms` stand on the broadcast's media clock, derived from sample counts and never
summed. `at` is wall time, aware and in UTC.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: A wall time with its zone, in UTC; JSON without a zone is refused.
WallTime = Annotated[dt.datetime, Meta(tz=True)]

#: Everything inside tingbo is mono sound at this rate, in Hz.
SAMPLE_RATE = 16_000


def samples_to_ms(samples: int) -> int:
    """Milliseconds on the media clock of a sample count at `SAMPLE_RATE`, rounded down."""
    return samples * 1000 // SAMPLE_RATE


def ms_to_samples(ms: int) -> int:
    """Number of samples at `SAMPLE_RATE` in `ms` milliseconds."""
    return ms * SAMPLE_RATE // 1000


class CoverageKind(StrEnum):
    """What became of a stretch of a broadcast. Only `HEARD` was transcribed."""

    HEARD = "heard"
    SILENT = "silent"
    MUSIC = "music"
    LOST = "lost"
    """The source never delivered it (gap in the timestamps, broken connection)."""
    SHED = "shed"
    """Left out on purpose under overload."""
    FAILED = "failed"
    """Delivered but not understood: undecodable sound, failed recognition."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the media clock and what became of it."""

    start_ms: int
    end_ms: int
    kind: CoverageKind
    reason: str = ""
    """Simplified Chinese, for LOST, SHED and FAILED."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Sums of the ledger of one broadcast, in ms; they add up to its length."""

    heard_ms: int = 0
    silent_ms: int = 0
    music_ms: int = 0
    lost_ms: int = 0
    shed_ms: int = 0
    failed_ms: int = 0


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A run of decoded sound."""

    start_sample: int
    """Position on the media clock, in samples at SAMPLE_RATE."""
    samples: NDArray[np.float32]
    """Mono, −1…1, shape [n]."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the media clock that has no sound, with the reason in Simplified Chinese."""

    start_sample: int
    end_sample: int
    kind: CoverageKind
    """LOST (never delivered) or FAILED (delivered, undecodable)."""
    reason: str


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """Speech cut by the VAD, no longer than the recogniser's window; padding included."""

    seq: int
    """Counts from 0 in its epoch."""
    start_ms: int
    end_ms: int
    samples: NDArray[np.float32]
    """Mono at SAMPLE_RATE, shape [n], n = samples between start and end."""
    language: str = "zh"


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word (for Chinese: a jieba-free run as the model gives it) and its time."""

    start_ms: int
    end_ms: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What one segment was understood as. An empty text with guards is not the same as silence."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    guards: tuple[str, ...] = ()
    """Names of the guards that acted on it, e.g. `no_speech`, `loop_truncated`."""
    dropped_text: str = ""
    """What the guards took out; kept visible."""
    model: str = ""

    @property
    def low_confidence(self) -> bool:
        """Whether a guard acted and left text whose wording should be listened to."""
        return bool(self.guards)


@dataclass(frozen=True, slots=True)
class Utterance:
    """Text as the rules read it: a transcript of one segment, or one line of a text file."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()


class Category(StrEnum):
    """What a finding is about: the four that are always judged, then those of further rule packs.

    The codes are part of the interface.
    """

    FALSE_PRICE_COMPARISON = "false_price_comparison"
    COMPETITOR_DISPARAGEMENT = "competitor_disparagement"
    OFF_PLATFORM_SOLICITATION = "off_platform_solicitation"
    EFFICACY_CLAIM = "efficacy_claim"
    ABSOLUTE_CLAIM = "absolute_claim"
    FAKE_ENGAGEMENT = "fake_engagement"
    REGULATED_GOODS = "regulated_goods"
    PRIVACY = "privacy"
    PRIZES_AND_GIFTS = "prizes_and_gifts"


#: The four of design.md, in its order: rules and classifier judge them in every broadcast.
CORE_CATEGORIES = (
    Category.FALSE_PRICE_COMPARISON,
    Category.COMPETITOR_DISPARAGEMENT,
    Category.OFF_PLATFORM_SOLICITATION,
    Category.EFFICACY_CLAIM,
)

#: What people see for a category code.
CATEGORY_NAMES = {
    Category.FALSE_PRICE_COMPARISON: "虚假价格比较",
    Category.COMPETITOR_DISPARAGEMENT: "贬损同行",
    Category.OFF_PLATFORM_SOLICITATION: "站外引流",
    Category.EFFICACY_CLAIM: "功效宣称",
    Category.ABSOLUTE_CLAIM: "绝对化用语",
    Category.FAKE_ENGAGEMENT: "虚假评价与互动",
    Category.REGULATED_GOODS: "资质与准入",
    Category.PRIVACY: "泄露隐私",
    Category.PRIZES_AND_GIFTS: "奖品赠品",
}

#: What people see for a speech act (lexicons/acts.toml); others are shown by their own name.
SPEECH_ACT_NAMES = {
    "assertion": "断言",
    "refusal": "拒绝、劝阻",
    "warning": "防骗提醒",
    "denied_question": "复述提问后否认",
    "rule_reading": "宣读规则",
    "correction": "更正前一句",
    "taking_back": "收回说过的话",
    "hypothesis": "假设、举例",
    "question": "疑问",
    "hypothetical": "假设",
    "quoting": "引用他人",
    "promise": "承诺、担保",
}

#: The letter that a category's subtypes begin with, as in P01.
SUBTYPE_LETTERS = {
    Category.FALSE_PRICE_COMPARISON: "P",
    Category.COMPETITOR_DISPARAGEMENT: "D",
    Category.OFF_PLATFORM_SOLICITATION: "S",
    Category.EFFICACY_CLAIM: "E",
    Category.ABSOLUTE_CLAIM: "A",
    Category.FAKE_ENGAGEMENT: "R",
    Category.REGULATED_GOODS: "G",
    Category.PRIVACY: "V",
    Category.PRIZES_AND_GIFTS: "Z",
}


class Verdict(StrEnum):
    """What should happen with a finding."""

    PASS = "pass"  # noqa: S105 -- a verdict, not a password
    REVIEW = "review"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Basis:
    """An article of a law or platform rule that a finding rests on."""

    id: str
    title: str
    article: str
    effective_from: dt.date
    effective_to: dt.date | None = None
    """First day it no longer holds; None while it is in force."""
    source: str = ""
    """Who issued it, its number, and where to find it; Simplified Chinese."""
    link: str = ""
    """Official address of the text; empty where none is known for certain."""
    verified: bool = False
    """Whether its wording was read; else only reprints or summaries were."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """Where in an earlier utterance the other half of a claim stands."""

    start_ms: int
    """Start of that utterance."""
    text: str
    span: tuple[int, int]
    """[a, b) in the characters of `text`."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A later utterance in which the host takes a claim back: a mitigation, no erasure."""

    start_ms: int
    """Start of that utterance."""
    text: str


@dataclass(frozen=True, slots=True)
class Why:
    """Why a rule or the model fired, in a form a reviewer can read."""

    text: str
    """One sentence, Simplified Chinese."""
    words: tuple[str, ...] = ()
    """The words in the utterance that decided."""
    context: tuple[str, ...] = ()
    """Earlier utterances that were needed to decide, oldest first."""
    earlier: Earlier | None = None
    """The words of the last one of them, where a rule found them there."""
    correction: Correction | None = None
    """Where the host took it back."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What produced a result."""

    engine: str
    rule_pack: str
    model: str = ""
    """Name of the classifier, empty where rules alone decided."""
    asr: str = ""
    """Name of the speech model, empty for text."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict of a rule or the model on a span: a suspicion with a basis, never guilt."""

    category: Category
    subtype: str
    rule: str
    """Rule id, or "model"."""
    score: float
    verdict: Verdict
    span: tuple[int, int]
    """[a, b) in the characters of the utterance's original text."""
    evidence: str
    """The characters of the span."""
    start_ms: int
    end_ms: int
    why: Why
    versions: Versions
    speech_act: str = "assertion"
    """How it is said: an act of lexicons/acts.toml, as in SPEECH_ACT_NAMES."""
    target: str = "none"
    """Of whom: own, other_channel, peer, peers, platform, audience or none."""
    basis: tuple[Basis, ...] = ()
    facts_to_check: tuple[str, ...] = ()
    suggestion: str = ""
    shadow: bool = False
    """Of a rule on trial: it is recorded, and nobody is told."""
    pitch: str = ""
    """Key of the claim: the same when it is said again, also in another broadcast."""


class CaseState(StrEnum):
    """Where a case stands in the review queue."""

    OPEN = "open"
    CLAIMED = "claimed"
    DECIDED = "decided"


@dataclass(frozen=True, slots=True)
class SegmentKey:
    """Natural key of a segment and everything derived from it."""

    broadcast: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class SegmentMessage:
    """What the stream `segments` carries: where the clip is, never the sound itself."""

    key: SegmentKey
    room: str
    start_ms: int
    end_ms: int
    at: WallTime
    """Wall time (UTC) at which the segment's last sample was received."""
    clip_uri: str
    clip_sha256: str
    language: str = "zh"
    priority: int = 0
    """Of its room: higher ones are heard first and shed last."""


@dataclass(frozen=True, slots=True)
class TranscriptMessage:
    """What the stream `transcripts` carries; the text itself is a row."""

    key: SegmentKey
    room: str
    at: WallTime
    """Copied from the segment."""


@dataclass(frozen=True, slots=True)
class Case:
    """Findings that a reviewer decides together."""

    id: str
    room: str
    broadcast: str
    category: Category
    state: CaseState
    first_ms: int
    last_ms: int
    times_ms: tuple[int, ...]
    """Start of every occurrence, on the media clock."""
    text: str
    """The utterance of the first occurrence."""
    clip_uri: str
    finding: Finding
    """The finding that opened it."""
    opened_at: WallTime
    heard_at: WallTime
    """Wall time (UTC) at which the utterance ended; opened_at − heard_at is the alert's latency."""
    findings: tuple[Finding, ...] = field(default=())
    """All findings, first one included."""


@dataclass(frozen=True, slots=True)
class CaseMessage:
    """What the stream `cases` carries."""

    case: str
    room: str
    broadcast: str
    at: WallTime
    """Copied from the segment."""

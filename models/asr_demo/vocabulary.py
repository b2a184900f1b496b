"""Token and syllable tables of the bundled speech model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from espeak import syllables
from sentences import words, written_characters
from timing import WINDOW_S

HERE = Path(__file__).parent
#: In the order faster-whisper's tokenizer and CTranslate2 expect them: every one must exist.
SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMPS = tuple(f"<|{i * 0.02:.2f}|>" for i in range(WINDOW_S * 50 + 1))


def characters() -> list[str]:
    """One token a character: those in two or more words of the dictionary's selection, the common
    ones of GB 2312 (its first level), and those that the written text uses.

    The file is the record, because trained weights depend on its order; it is written only
    where it is missing.
    """
    path = HERE / "characters.txt"
    if not path.exists():
        count = Counter("".join(words()["all"][0]))
        often = {c for c, n in count.items() if n >= 2}
        kept = sorted(often | first_level() | written_characters())
        path.write_text("".join(kept) + "\n", encoding="utf8")
    return list(path.read_text(encoding="utf8").strip())


def first_level() -> set[str]:
    """The 3,755 common characters of GB 2312: rows 16 to 55 of its table."""
    rows = (bytes([row, cell]) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return set(b"".join(rows).decode("gb2312", errors="ignore"))


def tokens() -> list[str]:
    """The whole vocabulary: characters first (decoding drops ids from <|endoftext|> on)."""
    return [*characters(), *SPECIALS, *TIMESTAMPS]


def syllable_table() -> dict[str, int]:
    """Toned syllables to CTC labels from 1; 0 is the blank."""
    path = HERE / "syllables.txt"
    if not path.exists():
        texts = (*words()["all"][0], *characters())
        seen = {syllable for text in texts for syllable in syllables(text)}
        kept = sorted(s for s in seen if s[-1:].isdigit())
        path.write_text(" ".join(kept) + "\n", encoding="utf8")
    return {s: i + 1 for i, s in enumerate(path.read_text(encoding="utf8").split())}

"""Where words of the pack's classes stand in a text: what a rule means by [channel] or [illness].

The classifier reads them too, so that a word it never met in training still means something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.detect.patterns import Classes


@dataclass(frozen=True, slots=True, eq=False)
class WordClasses:
    """Words of all classes, ready to be found; equal only to itself."""

    names: Mapping[str, tuple[str, ...]]
    """Word → the classes that have it."""
    lengths: Mapping[str, tuple[int, ...]]
    """First character of a word → lengths of the words that begin with it, longest first."""

    def found(self, text: str) -> Iterator[str]:
        """Classes of the words of a normal form, by position, the longest word first."""
        names, lengths = self.names, self.lengths
        start = 0
        while start < len(text):
            step = 1
            for length in lengths.get(text[start], ()):
                hit = names.get(text[start : start + length])
                if hit is not None:
                    yield from hit
                    step = length
                    break
            start += step


def word_classes(classes: Classes) -> WordClasses:
    """The index over `classes`."""
    names: dict[str, list[str]] = {}
    for name, words in classes.items():
        for word in words:
            names.setdefault(word, []).append(name)
    lengths: dict[str, set[int]] = {}
    for word in names:
        lengths.setdefault(word[0], set()).add(len(word))
    return WordClasses(
        {word: tuple(sorted(of_word)) for word, of_word in names.items()},
        {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()},
    )

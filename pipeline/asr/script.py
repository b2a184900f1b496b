"""Traditional to simplified Chinese, so that rules and people read one script."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opencc import OpenCC


@functools.cache
def _converter() -> OpenCC:
    from opencc import OpenCC

    # Reading its dictionaries takes longer than converting a broadcast.
    return OpenCC("t2s")


def simplify(text: str) -> str:
    """`text` in simplified characters; everything else stays as it is."""
    return str(_converter().convert(text))


def simplify_pieces(pieces: Sequence[str]) -> list[str]:
    """Every piece in simplified characters, read in the context of the whole.

    The joined result is the simplified joined text wherever the conversion keeps the length, which
    it does but for a handful of phrases; there each piece is converted alone.
    """
    whole = "".join(pieces)
    simple = simplify(whole)
    if len(simple) != len(whole):
        return [simplify(piece) for piece in pieces]
    result, at = [], 0
    for piece in pieces:
        result.append(simple[at : at + len(piece)])
        at += len(piece)
    return result

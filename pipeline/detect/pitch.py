"""The key of a pitch: the same for the same claim said again, in this broadcast or the next. Pure.

Homophones, dialect, particles and the way a number is written make no other pitch. Another price,
percentage or time does, because other facts must be checked; a mere count (最后五套, 最后三套) does
not, because it runs down while the pitch goes on.
"""

from __future__ import annotations

import hashlib
import re

from pipeline.detect.numbers import Quantity, Role, quantities
from pipeline.detect.pinyin import sound_of
from pipeline.records import Category

#: What a claim can be said with or without.
_LIGHT = re.compile("[的了吧呢吗呗哈就都也还又再很]")
_OWNER = re.compile("咱们|我们|俺们|咱|俺")


def pitch_of(category: Category, subtype: str, words: str) -> str:
    """The key of `words`, a part of a normal form: a text that may be stored and compared."""
    parts, end = [], 0
    for quantity in quantities(words):
        parts.append(_sounds(words[end : quantity.start]))
        parts.append(_number(quantity) or _sounds(words[quantity.start : quantity.end]))
        end = quantity.end
    parts.append(_sounds(words[end:]))
    said = "\x1f".join((category.value, subtype, " ".join(filter(None, parts))))
    return "p" + hashlib.sha256(said.encode()).hexdigest()[:15]


def _number(quantity: Quantity) -> str:
    """A count is as good as any other; what cannot be told is compared as it sounds."""
    if quantity.role is Role.QUANTITY:
        return "#"
    if quantity.value is None:
        return ""
    # A price is often said without its unit.
    unit = "" if quantity.role is Role.PRICE else quantity.unit
    return f"{quantity.value:g}{unit}"


def _sounds(words: str) -> str:
    bare = _LIGHT.sub("", _OWNER.sub("我", words))
    return " ".join(map(sound_of, bare))

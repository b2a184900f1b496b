"""What a bare number is worth, however it is said or written. Pure."""

from __future__ import annotations

import math
import re

DIGITS = {
    "零": 0, "〇": 0, "一": 1, "幺": 1, "二": 2, "两": 2, "俩": 2, "三": 3, "四": 4, "五": 5,
    "六": 6, "七": 7, "八": 8, "九": 9, "几": 3,
}  # fmt: skip
POWERS = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}
#: What a number may begin with, as one text.
NUMERALS = "".join(DIGITS) + "".join(POWERS) + "0123456789半"
#: Two digits in a row that are a rough number: "四十五六", "三五万". Its first is its value.
ROUGH = "(?:一二|二三|两三|三四|四五|五六|六七|七八|八九|三五)"

_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)([十百千万亿wk]*)")
_FACTORS = POWERS | {"w": 10_000, "k": 1000}
_ROUGHLY = re.compile(rf"(?={ROUGH})(.).")


def digit(character: str) -> float:
    """Value of one digit, said or written; 0 for any other character."""
    return float(character) if character.isdecimal() else DIGITS.get(character, 0)


def worth(text: str) -> float | None:
    """Value of a bare number; None where it is none, or beyond all bounds."""
    value = _value(text)
    return value if value is not None and math.isfinite(value) else None


def _value(text: str) -> float | None:
    written = _WRITTEN.fullmatch(text)
    if written:
        value = float(written[1])
        for power in written[2]:
            value *= _FACTORS[power]
        return value
    if text == "半":
        return 0.5
    whole, point, rest = text.partition("点")
    if point:
        return _decimal(whole, rest)
    one = text if len(text) > 2 and _is_run(text) else _ROUGHLY.sub(r"\1", text)
    return float(run(one)) if _is_run(one) else _spoken(one)


def _is_run(text: str) -> bool:
    return bool(text) and all(character in DIGITS for character in text)


def _decimal(whole: str, rest: str) -> float | None:
    """六点四二万: digits after the point, then powers that hold for all of it."""
    digits = rest.rstrip("".join(POWERS))
    value = worth(whole)
    if value is None or not _is_run(digits):
        return None
    value += float(f"0.{run(digits)}")
    for power in rest[len(digits) :]:
        value *= POWERS[power]
    return value


def run(text: str) -> str:
    """Digits said one by one, as they are written."""
    return "".join(str(DIGITS[character]) for character in text)


def _spoken(text: str) -> float | None:
    """Value of a number with powers; a last digit without one counts tenths of the power before.

    "两百五" is 250 and "一千零五" is 1005.
    """
    if not text:
        return None
    total = section = last = 0.0
    power = 1
    for character in text:
        if character in POWERS:
            power = POWERS[character]
            if power >= 10_000:
                total, section = _raised(total, section + last, power), 0.0
            else:
                section += (last or 1) * power
            last = 0.0
        elif character in DIGITS:
            last = DIGITS[character]
            power = power if last else 1
        else:
            return None
    return total + section + last * max(1, power // 10)


def _raised(total: float, section: float, power: int) -> float:
    """一亿两千万: 万 counts what was said since 亿, 亿 all of it."""
    if power > 10_000:
        return (total + section or 1) * power
    return total + (section or 1) * power

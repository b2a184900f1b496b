"""Spoken and written numbers: how a rule recognises them, and what they are worth."""

from __future__ import annotations

import re

_DIGITS = {
    "零": 0, "〇": 0, "一": 1, "幺": 1, "二": 2, "两": 2, "俩": 2, "三": 3, "四": 4, "五": 5,
    "六": 6, "七": 7, "八": 8, "九": 9, "几": 3,
}  # fmt: skip
_POWERS = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}

_D = "[一二两俩三四五六七八九几]"
_SPOKEN = rf"(?:{_D}?[十百千万]零?)++(?:{_D}(?![十百千万]))?+"
# Digits said one by one, "三九九"; "七八" before a noun is a rough number instead.
_RUN = (
    r"(?:(?!一二|二三|三四|四五|五六|六七|七八|八九)"
    r"[零〇一幺二三四五六七八九]{2,4}+(?![零〇一幺二三四五六七八九十百千万点]))"
)
_ARABIC = r"\d++(?:\.\d++)?+[千百万]?+"
_MONEY = r"[块元圆米](?:钱)?+"
_AFTER_MONEY = (
    rf"(?:[一二三四五六七八九半]|\d)(?![{''.join(_POWERS)}\d"
    r"个件盒瓶包袋套条双斤支米片位只颗份根朵组张卷棵两块箱罐粒年天])"
)
# What follows a number that is no price: a measure, a date, the name of a link.
_NO_PRICE = (
    r"(?![克斤公厘毫天年月日号点分秒小时岁个件盒瓶袋套条双支片位只张本颗粒粉单家次遍层根"
    r"台度平瓦升寸码倍折成多来把人目款种期步字句杯箱串罐组升色页孔键线安伏乘杠速型周]|包(?!邮))"
)

#: Slot name in a pattern → regular expression over the normal form.
SLOTS = {
    "number": rf"(?:{_SPOKEN}|{_RUN}|{_D}|{_ARABIC})",
    "price": (
        rf"(?:(?:大几|好几|上)?+(?:{_SPOKEN}|{_RUN}|{_ARABIC}|{_D})[多来]?+{_MONEY}(?:{_AFTER_MONEY})?"
        rf"|(?:{_SPOKEN}|{_RUN}|{_ARABIC})(?:[多来](?![个件盒瓶斤年天月次号岁米种家])|{_NO_PRICE}|(?=[一二两三四五六七八九十][个件盒瓶包袋套双]))"
        r"|[一二三四五六]位数|[一二三四五六七八九]字头)"
    ),
    "days": rf"(?:{_SPOKEN}|{_D}|{_ARABIC})(?:个)?+(?:半)?+(?:天|周|星期|礼拜|月|疗程|晚上)",
    "percent": rf"(?:百分之(?:{_SPOKEN}|{_D}|{_ARABIC})|(?:{_ARABIC})%|[一二三四五六七八九]成)",
}

_PLACES = re.compile(r"([一二三四五六])位数")
_LEADING = re.compile(r"[大好上]?几?(?=几)|上(?=[百千万])")
_PARTS = re.compile(r"^([^块元圆米]+)(?:[块元圆米]钱?(.?))?$")


def value_of(text: str) -> float | None:
    """What a number of the slot `price` is worth in yuan; None when it cannot be said.

    For a vague one ("几百", "四位数") its least plausible value.
    """
    places = _PLACES.fullmatch(text)
    if places:
        return float(10 ** (_DIGITS[places[1]] - 1))
    parts = _PARTS.fullmatch(text.replace("多", "").replace("来", ""))
    if parts is None or text.endswith("字头"):
        return None
    whole = _whole(parts[1].removeprefix("大").removeprefix("好").removeprefix("上"))
    if whole is None or not parts[2]:
        return whole
    return whole + (0.5 if parts[2] == "半" else (_single(parts[2]) or 0) / 10)


def _single(character: str) -> float | None:
    return float(character) if character.isdecimal() else _DIGITS.get(character)


def _whole(text: str) -> float | None:
    if text and text[-1] in _POWERS and _is_arabic(text[:-1]):
        return float(text[:-1]) * _POWERS[text[-1]]
    if _is_arabic(text):
        return float(text)
    if text and all(character in _DIGITS for character in text):
        return float("".join(str(_DIGITS[character]) for character in text))
    return _spoken(text)


def _is_arabic(text: str) -> bool:
    return text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdecimal()


def _spoken(text: str) -> float | None:
    """Value of a number with powers; a last digit without one counts tenths of the power before.

    "两百五" is 250 and "一千零五" is 1005.
    """
    total = section = digit = 0
    power = 1
    for character in text:
        if character in _POWERS:
            power = _POWERS[character]
            if power >= 10_000:
                total = (total + section + digit or 1) * power
                section = 0
            else:
                section += (digit or 1) * power
            digit = 0
        elif character in _DIGITS:
            digit = _DIGITS[character]
            power = 1 if digit == 0 else power
        else:
            return None
    return float(total + section + digit * max(1, power // 10))

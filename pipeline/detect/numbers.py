"""Spoken and written numbers: how a rule recognises them, and what they are worth. Pure.

Everything here reads normal forms (normalize.py): half width, lower case, without punctuation but
for the point between digits and the percent sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.detect.amounts import DIGITS, POWERS, ROUGH, digit, run, worth

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
    rf"(?:[一二三四五六七八九半]|\d)(?![{''.join(POWERS)}\d"
    r"个件盒瓶袋套条双斤支米片位只颗份根朵组张卷棵块箱罐粒年天]|两(?![个件盒瓶包袋套条双支]))"
    r"(?!包(?!邮))"
)
# What follows a number that is no price: a measure, a date, the name of a link.
_NO_PRICE = (
    r"(?![克斤公厘毫天年月日号点分秒小时岁个件盒瓶袋套条双支片位只张本颗粒粉单家次遍层根"
    r"台度平瓦升寸码倍折成多来把人目款种期步字句杯箱串罐组升色页孔键线安伏乘杠速型周]|包(?!邮))"
)

#: "九点九", but not the time "八点三十".
_DECIMAL = rf"(?:零|{_SPOKEN}|{_D})点[零〇一幺二三四五六七八九]++(?![十点]|分(?!之))"

#: Slot name in a pattern → regular expression over the normal form.
SLOTS = {
    "number": rf"(?:{_SPOKEN}|{_RUN}|{_D}|{_ARABIC})",
    "price": (
        rf"(?:(?:大几|好几|上)?+(?:{_DECIMAL}|{_SPOKEN}|{_RUN}|{_ARABIC}|{_D})[多来]?+{_MONEY}(?:{_AFTER_MONEY})?"
        rf"|(?:{_SPOKEN}|{_RUN}|{_ARABIC})(?:[多来](?![个件盒瓶斤年天月次号岁米种家])|{_NO_PRICE}|(?=[一二两三四五六七八九十][个件盒瓶包袋套双]))"
        r"|[一二三四五六]位数|[一二三四五六七八九]字头)"
    ),
    "days": rf"(?:{_SPOKEN}|{_D}|{_ARABIC})(?:个)?+(?:半)?+(?:天|周|星期|礼拜|月|疗程|晚上)",
    "percent": rf"(?:百分之(?:{_SPOKEN}|{_D}|{_ARABIC})|(?:{_ARABIC})%|[一二三四五六七八九]成)",
}

#: An amount at the end of what is searched, before a unit.
AMOUNT = re.compile(rf"(?:大?几[十百千]|{SLOTS['number']})\Z")


class Role(StrEnum):
    """What a number says."""

    PRICE = "price"
    DISCOUNT = "discount"
    QUANTITY = "quantity"
    PERCENTAGE = "percentage"
    DURATION = "duration"
    WEIGHT = "weight"
    NUMBER = "number"
    """Anything else: a length, an age, a date, the number of a link."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in [start, end) of a normal form with its unit."""

    start: int
    end: int
    value: float | None
    """In `unit`; for a vague one ("几百", "四位数") its least plausible value. None: unknown."""
    unit: str
    """元 折 % 天 斤 盒 …, one for all ways to say it; empty where none was said."""
    role: Role


_MEASURES = (
    "个件盒瓶袋套条双支片位只颗份根朵组张卷棵箱罐粒单台部把本串桶杯碗盏枚副对管板株排提家款种次遍人"
)
#: Unit → the ways to say it, by role.
_UNITS = {
    Role.DURATION: {
        "秒": "秒钟?", "毫秒": "毫秒", "分钟": "分钟", "小时": "个?(?:小时|钟头)",
        "天": "天|日(?![常用子期货抛本式])",
        "晚": "个?晚上?", "周": "周(?![边年岁])|个?(?:星期|礼拜)", "月": "个月|(?<=半)月",
        "年": "年", "疗程": "个?疗程",
    },
    Role.WEIGHT: {
        "公斤": "公斤|千克|kg", "斤": "市?斤", "毫克": "毫克|mg", "克": "克(?!拉)|g(?![a-z])",
        "吨": "吨", "两": rf"两(?![{_MEASURES}块包小天年月周])",
    },
    Role.NUMBER: {
        "公里": "公里|千米", "厘米": "厘米|公分|cm", "毫米": "毫米|mm", "毫升": "毫升|ml",
        "升": "升", "度": "度",
        "点": rf"点(?:钟|(?P<minutes>半|零{_D}|[二三四五]?十{_D}?|\d\d|{_D}(?=分))分?)?",
        "岁": "周?岁", "号": "号", "月": "月",
        "楼": "[楼层]", "倍": "倍", "码": "码",
        "平方": "平方米?|平米|平(?![时常均台])", "寸": "寸", "匹": "匹", "瓦": "瓦", "期": "期",
    },
    Role.QUANTITY: {"包": "包(?!邮)"} | {word: word for word in _MEASURES},
}  # fmt: skip
_UNIT_OF = [(role, unit) for role, units in _UNITS.items() for unit in units]
_UNIT = "|".join(
    f"(?P<u{number}>{_UNITS[role][unit]})" for number, (role, unit) in enumerate(_UNIT_OF)
)
_FOREIGN = "[美欧港澳日]元|港币|英镑|卢布|新台币"

_ONE = f"(?:{ROUGH}|{_D})"
_POWER = "(?:[十百万亿]|(?<![十百千])千(?![克瓦]))"
# "一百一个" is a hundred each; "一百零一个" and "二十一个" are counts.
_LAST = rf"(?![两俩](?!三))(?:(?<=[十零])|(?!一[个件盒瓶包袋套双支斤只])){_ONE}(?!{_POWER})"
# 万一 and 千万 are mostly said for "in case" and "by all means".
_LARGE = rf"(?!万一|千万(?![块元]))(?:{_ONE}?{_POWER}零?)++(?:{_LAST})?+"
_WHOLE = (
    rf"\d++(?:\.\d++)?+(?:{_POWER}++|[wk](?![a-z]))?+|{_DECIMAL}[百千万亿]*+|{_LARGE}"
    rf"|[零〇幺一二三四五六七八九]{{3,}}+(?!{_POWER})|{_RUN}|{ROUGH}(?!{_POWER})|{_D}{_D}(?=折)"
    rf"|[零〇幺]|{_D}|半(?=公?斤|个?(?:月|小时|钟头|疗程)|[年天箱盒瓶])"
)
_NUMBER = re.compile(
    r"百分百|对折|半价|(?P<places>[一二三四五六])位数|(?P<leading>[一二三四五六七八九])字头"
    rf"|(?P<percent>百分之)?(?:[大好上](?=几))?(?P<amount>{_WHOLE})"
)
_AFTER = re.compile(
    rf"(?P<sign>%)|成(?P<tenth>{_D})?(?![分本都为功品熟套年])|(?P<off>折)(?![叠旧磨])"
    r"|分之(?P<below>[一二三四五六七八九十百]+)"
    rf"|[多来]?(?:(?P<foreign>{_FOREIGN})|(?P<yuan>[块元圆]钱?|人民币)"
    rf"(?:零?(?P<jiao>{_D}|\d)[毛角](?:(?P<fen>{_D}|\d)分?)?+|(?P<tail>{_AFTER_MONEY}))?+)"
    rf"|(?P<cents>毛钱?|角钱)|(?P<metres>米)(?P<rest>{_D}{{1,2}}(?!{_POWER}|[块元])|半)?"
    rf"|(?:[多来]|(?P<half>个半))?(?:{_UNIT})(?P<more>半(?!价))?"
)
_PRICE = re.compile(SLOTS["price"])
#: "一百一个": what a number before it is asked for.
_EACH = re.compile("一[个件盒瓶包袋套双支斤只]")
#: What a decimal without a unit must stand beside to be a price.
_PRICED_BEFORE = re.compile(r"(?:只要|才|卖|到手|价|券后|秒杀|直播间|今天|现在|拍|是)\Z")
_PRICED_AFTER = re.compile(
    r"包邮|带走|到手|秒|抢|拿|拍|上车|[一二两三四五六七八九十\d][个件盒瓶包袋套双]"
)


def quantities(text: str) -> tuple[Quantity, ...]:
    """Every number of a normal form with its unit and role, by position, none overlapping.

    A single digit without a unit says nothing (一起, 第一) and is left out, unless it is all.
    """
    return tuple(_quantities(text))


def _quantities(text: str) -> Iterator[Quantity]:
    at = 0
    before: Quantity | None = None
    while (found := _NUMBER.search(text, at)) is not None:
        at = found.end()
        if found["amount"] is None:
            yield _fixed(found)
            continue
        quantity = _with_unit(text, found) or _without_unit(text, found, before)
        if quantity is not None:
            at, before = quantity.end, quantity
            yield replace(quantity, value=None) if found["amount"] == "几" else quantity


def _fixed(found: re.Match[str]) -> Quantity:
    """Wordings that are whole numbers by themselves."""
    start, end = found.span()
    if found[0] == "百分百":
        return Quantity(start, end, 100, "%", Role.PERCENTAGE)
    if found["places"]:
        value: float | None = 10.0 ** (DIGITS[found["places"]] - 1)
        return Quantity(start, end, value, "元", Role.PRICE)
    if found["leading"]:
        return Quantity(start, end, None, "元", Role.PRICE)
    return Quantity(start, end, 5, "折", Role.DISCOUNT)


def _with_unit(text: str, found: re.Match[str]) -> Quantity | None:
    value = worth(found["amount"])
    if found["percent"]:
        return Quantity(found.start(), found.end(), value, "%", Role.PERCENTAGE)
    after = _AFTER.match(text, found.end())
    if after is None or value is None:
        return None
    start, end = found.start(), after.end()
    if after["yuan"] or after["foreign"]:
        return Quantity(start, end, value + _tenths(after), after["foreign"] or "元", Role.PRICE)
    if after["metres"]:
        return _metres(start, end, value, after["rest"])
    number = next((number for number in range(len(_UNIT_OF)) if after[f"u{number}"]), None)
    if number is None:
        return _share(start, end, value, after)
    return _measured(text, found, after, _UNIT_OF[number])


def _tenths(after: re.Match[str]) -> float:
    """What is said after 块: 九块九, 三十块半, 五元三角八."""
    if after["jiao"]:
        return digit(after["jiao"]) / 10 + (digit(after["fen"]) / 100 if after["fen"] else 0)
    if after["tail"]:
        return 0.5 if after["tail"] == "半" else digit(after["tail"]) / 10
    return 0


def _metres(start: int, end: int, value: float, rest: str | None) -> Quantity:
    """八十九米 is a price, for those end in eight or nine; 一米六五 and 五十米 are lengths."""
    if rest is None and value >= 10 and value % 10 in (8, 9):
        return Quantity(start, end, value, "元", Role.PRICE)
    more = 0.5 if rest == "半" else float(f"0.{run(rest)}") if rest else 0
    return Quantity(start, end, value + more, "米", Role.NUMBER)


def _share(start: int, end: int, value: float, after: re.Match[str]) -> Quantity | None:
    """Percentages, discounts, fractions and small money, which no unit follows."""
    if after["sign"]:
        return Quantity(start, end, value, "%", Role.PERCENTAGE)
    if after["off"]:
        return Quantity(start, end, value / 10 if value > 10 else value, "折", Role.DISCOUNT)
    if after["cents"]:
        return Quantity(start, end, value / 10, "元", Role.PRICE)
    if after["below"]:
        above = worth(after["below"])
        return Quantity(start, end, above / value if above and value else None, "", Role.NUMBER)
    more = DIGITS[after["tenth"]] if after["tenth"] else 0
    return Quantity(start, end, value * 10 + more, "%", Role.PERCENTAGE) if value <= 10 else None


def _measured(
    text: str, found: re.Match[str], after: re.Match[str], kind: tuple[Role, str]
) -> Quantity | None:
    (role, unit), said = kind, found["amount"]
    start, end = found.start(), after.end()
    if said == "一" and after[0] == "点":
        return None
    value = worth(said) or 0
    if unit == "年" and value > 50 and not any(power in said for power in "十百"):
        role = Role.NUMBER
    if unit == "天" and text[start - 1 : start] == "月":
        role, unit = Role.NUMBER, "日"
    return Quantity(start, end, value + _beyond(after), unit, role)


def _beyond(after: re.Match[str]) -> float:
    """What a unit adds: 两个半月, 一斤半, 八点三十 in hours."""
    minutes = after["minutes"]
    if after["half"] or after["more"] or minutes == "半":
        return 0.5
    return (worth(minutes.removeprefix("零")) or 0) / 60 if minutes else 0


def _without_unit(text: str, found: re.Match[str], before: Quantity | None) -> Quantity | None:
    start, end = found.span()
    said, value = found["amount"], worth(found["amount"])
    if len(said) == 1 and not said.isascii() and said != text:
        return None
    if before is not None and text[before.end : start] in ("到", "至"):
        return replace(before, start=start, end=end, value=value)
    if _is_price(text, start, end):
        return Quantity(start, end, value, "元", Role.PRICE)
    return Quantity(start, end, value, "", Role.NUMBER)


def _is_price(text: str, start: int, end: int) -> bool:
    if "点" in text[start:end]:
        before = _PRICED_BEFORE.search(text, max(0, start - 3), start)
        return bool(before or _PRICED_AFTER.match(text, end))
    price = _PRICE.match(text, start)
    return _EACH.match(text, end) is not None or (price is not None and price.end() >= end)


_PLACES = re.compile(r"([一二三四五六])位数")
_PARTS = re.compile(r"^([^块元圆米]+)(?:[块元圆米]钱?(.?))?$")


def value_of(text: str) -> float | None:
    """What a number of the slot `price` is worth in yuan; None when it cannot be said.

    For a vague one ("几百", "四位数") its least plausible value.
    """
    places = _PLACES.fullmatch(text)
    if places:
        return float(10 ** (DIGITS[places[1]] - 1))
    parts = _PARTS.fullmatch(text.replace("多", "").replace("来", ""))
    if parts is None or text.endswith("字头"):
        return None
    whole = worth(parts[1].removeprefix("大").removeprefix("好").removeprefix("上"))
    if whole is None or not parts[2]:
        return whole
    return whole + (0.5 if parts[2] == "半" else digit(parts[2]) / 10)

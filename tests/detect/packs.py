"""A small rule pack of known content, to be changed and broken."""

from __future__ import annotations

from pathlib import Path

PACK = 'version = "1"\n'
CLASSES = '[classes]\ncontact = ["微信", "电话"]\nbase = ["原价", "专柜"]\n'
ACTS = """
[[act]]
name = "refusal"
[[act.case]]
before = ["别"]

[[act]]
name = "quoting"
effect = "review"
said = [["他说加微信", "加微信"]]
not_said = [["来加微信", "加微信"]]
[[act.case]]
before = ["他说"]

[[act]]
name = "promise"
effect = "note"
[[act.case]]
after = ["包好"]

[[target]]
name = "peers"
of = ["audience"]
words = ["同行"]
said = [["audience", "同行都加微信"]]
"""
BASIS = """
[[basis]]
id = "old"
kind = "law"
title = "某法"
article = "第一条"
summary = "概括"
source = "某机关令第1号"
verified = true
effective_from = 2020-01-01
effective_to = 2026-01-01
checked_on = 2026-11-22

[[basis]]
id = "new"
kind = "platform_rule"
title = "某平台规则"
article = "第二条"
summary = "概括"
source = "某机关令第1号"
verified = true
link = "https://example.com/rule"
effective_from = 2026-01-01
checked_on = 2026-11-22
"""
MORPHS = """
[[code]]
said = ["绿泡泡"]
meant = "微信"
source = "常见代称"
restore = [["加绿泡泡", "加微信"]]
keep = ["吹泡泡"]

[[unit]]
said = ["米"]
meant = "元"
near = ["带走"]
source = "常见代称"
restore = [["九十米带走", "九十元带走"]]
keep = ["三米长"]

[[filler]]
said = ["什么"]
kind = "common"
source = "常见插字"
restore = [["尿什么酸高", "尿酸高"]]
keep = ["说什么"]

[[sound]]
meant = "微信"
cost = 0.0
near = ["加"]
source = "常见谐音"
restore = [["加薇信", "加微信"]]
keep = ["这封信"]

[words]
efficacy = ["尿酸"]
"""
ALLOW = """
[[allow]]
words = ["微信支付"]
reason = "平台内的付款方式"
source = "付款页"
pass = ["加微信支付的红包"]
"""


def rule(
    id_: str = "S01-contact",
    patterns: str = '"加…[contact]"',
    *,
    flag: tuple[str, str] = ("加微信", "加微信"),
    basis: str = "new",
    more: str = "",
) -> str:
    """A [[rule]] table; `flag` is a text it must flag and what it must point at."""
    example = f'{{ text = "{flag[0]}", span_text = "{flag[1]}" }}'
    return f"""
[[rule]]
id = "{id_}"
subtype = "{id_[:3]}"
severity = 3
score = 0.9
target = "audience"
patterns = [{patterns}]
why = "“{{evidence}}”:留联系方式"
basis = ["{basis}"]
facts_to_check = ["画面"]
suggestion = "联系客服"
flag = [{example}, {example}, {example}]
pass = ["大家好", "晚上好", "谢谢"]
{more}
"""


def rules(*tables: str, category: str = "off_platform_solicitation", more: str = "") -> str:
    """A file of rules."""
    return f'category = "{category}"\n{more}\n' + "".join(tables)


def extra(pack: str = "absolute", id_: str = "A01-best", *, more: str = "") -> str:
    """A file of an extra pack with one rule, which flags 全国第一."""
    best = rule(id_, '"全国第一"', flag=("我们全国第一", "全国第一"))
    return rules(best, category="absolute_claim", more=f'pack = "{pack}"\n{more}')


def write_pack(folder: Path, **files: str) -> Path:
    """The pack with one rule in solicit.toml; `files` replace or add NAME.toml."""
    contents = {
        "pack": PACK,
        "classes": CLASSES,
        "acts": ACTS,
        "basis": BASIS,
        "morphs": MORPHS,
        "allow": ALLOW,
        "solicit": rules(rule()),
        **files,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def write_extra(folder: Path, **files: str) -> Path:
    """The folder with files of extra packs."""
    (folder / "extra").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "extra" / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder

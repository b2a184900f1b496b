"""What people see on the terminal: alerts, cases, checked lines, progress, the demo's summary."""

from __future__ import annotations

import statistics
import time
import unicodedata
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pipeline.records import (
    CATEGORY_NAMES,
    Basis,
    Case,
    CaseState,
    Category,
    Coverage,
    Finding,
    Verdict,
)

if TYPE_CHECKING:  # `tingbo check` is ready sooner without the database and the bus
    from pipeline.alerts import Alert
    from pipeline.demo import Comparison, Outcome
    from pipeline.detect import CheckedLine
    from pipeline.detect.backtest import Backtest, Line
    from pipeline.review import Opinion

#: What a second opinion says of the words of the finding.
HEARD_AGAIN = {
    "same": "（“{words}”同样听到）",
    "alike": "（听到与“{words}”读音相同的词）",
    "absent": "（没有听到“{words}”，请回听录音）",
}
#: One colour a category, the same in the page.
_COLOURS = {
    Category.FALSE_PRICE_COMPARISON: "yellow",
    Category.COMPETITOR_DISPARAGEMENT: "magenta",
    Category.OFF_PLATFORM_SOLICITATION: "cyan",
    Category.EFFICACY_CLAIM: "green",
    Category.ABSOLUTE_CLAIM: "red",
    Category.FAKE_ENGAGEMENT: "blue",
    Category.REGULATED_GOODS: "bright_yellow",
    Category.PRIVACY: "bright_cyan",
    Category.PRIZES_AND_GIFTS: "bright_magenta",
}
_VERDICTS = {Verdict.PASS: "放行", Verdict.REVIEW: "复核", Verdict.BLOCK: "拦截"}
_STATES = {CaseState.OPEN: "待处理", CaseState.CLAIMED: "处理中", CaseState.DECIDED: "已处理"}
_COVERAGE = (
    ("heard_ms", "听到"),
    ("silent_ms", "静音"),
    ("music_ms", "音乐"),
    ("lost_ms", "丢失"),
    ("shed_ms", "舍弃"),
    ("failed_ms", "失败"),
)
SYNTHETIC = (
    "内置演示语音模型只认识合成语音（espeak-ng），听不懂真人说话；"
    "检查真实录音请用 --asr 指定真实模型。"
)


def clock(ms: int) -> str:
    """1:02:03.4 of a position in ms."""
    seconds, tenths = divmod(ms // 100, 10)
    hours, rest = divmod(seconds, 3600)
    head = f"{hours}:{rest // 60:02}" if hours else f"{rest // 60}"
    return f"{head}:{rest % 60:02}.{tenths}"


def coverage_line(coverage: Coverage) -> str:
    """听到 3:01.2 · 静音 0:08.0 · …; kinds of which there is nothing are left out."""
    parts = [(name, getattr(coverage, key)) for key, name in _COVERAGE]
    return " · ".join(f"{name} {clock(ms)}" for name, ms in parts if ms) or "没有声音"


def visible(text: str) -> str:
    """The text with every character that steers a terminal, or turns its direction, shown as �."""
    return "".join("�" if unicodedata.category(one) in ("Cc", "Cf") else one for one in text)


def _marked(text: str, finding: Finding) -> Text:
    line = Text(visible(text))
    line.stylize(f"bold {_COLOURS[finding.category]}", *finding.span)
    return line


def _what(finding: Finding) -> Text:
    name = f"{CATEGORY_NAMES[finding.category]} {finding.subtype}"
    return Text.assemble(
        (name, _COLOURS[finding.category]),
        f" · {_VERDICTS[finding.verdict]} {finding.score:.2f}",
        (f" · {finding.rule}", "dim"),
    )


def print_alert(alert: Alert, out: Console) -> None:
    """Two lines: when, what, the words, why, and how long it took."""
    case, finding = alert.case, alert.case.finding
    head = Text.assemble((f"[{clock(finding.start_ms)}] ", "bold"), _what(finding))
    head.append(f" · 延迟 {alert.latency_ms / 1000:.2f} 秒", "dim")
    out.print(head)
    _print_half(finding, out)
    out.print(Text.assemble("    ", _marked(case.text, finding)))
    out.print(Text(f"    {finding.why.text}", "dim"))


def print_checked_line(line: CheckedLine, out: Console) -> None:
    """The line's findings; a clean line prints nothing."""
    for finding in line.findings:
        _print_half(finding, out)
        out.print(Text.assemble((f"{line.line}: ", "bold"), _marked(line.text, finding)))
        out.print(Text.assemble("    ", _what(finding)))
        out.print(Text(f"    {visible(finding.why.text)}", "dim"))
        if finding.suggestion:
            out.print(Text(f"    建议：{finding.suggestion}", "dim"))


def _print_half(finding: Finding, out: Console) -> None:
    """The other half of a claim that is spread over utterances, marked like the first."""
    half = finding.why.earlier
    if half is not None:
        words = Text(visible(half.text))
        words.stylize(f"bold {_COLOURS[finding.category]}", *half.span)
        out.print(Text.assemble((f"    前句 [{clock(half.start_ms)}] ", "dim"), words))


def print_excused(line: CheckedLine, out: Console) -> None:
    """What rules know in the line and was let pass, with the reason."""
    for one in line.excused:
        head = Text.assemble((f"{line.line}: ", "bold"), ("放过 ", "dim"), (one.rule, "dim"))
        out.print(Text.assemble(head, " ", Text(visible(one.why), "dim")))


def print_cases(cases: Sequence[Case], out: Console) -> None:
    """The queue as a table; says so when it is empty."""
    if not cases:
        out.print("队列是空的。")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("案件", "房间", "时间", "次数", "类别", "处置", "原话", "依据规则"):
        table.add_column(name, overflow="fold")
    for case in cases:
        finding = case.finding
        table.add_row(
            case.id,
            Text(case.room),
            clock(case.first_ms),
            str(len(case.times_ms)),
            Text(f"{CATEGORY_NAMES[case.category]} {finding.subtype}", _COLOURS[case.category]),
            _VERDICTS[finding.verdict],
            _marked(case.text, finding),
            finding.rule,
        )
    out.print(table)


def print_case(
    case: Case, earlier: Sequence[Case], opinions: Sequence[Opinion], out: Console
) -> None:
    """Everything a reviewer needs to judge one case; `earlier` are those of the same pitch."""
    finding = case.finding
    out.print(Text.assemble((case.id, "bold"), "  ", _what(finding)))
    rows = [
        ("状态", _STATES[case.state]),
        ("房间 / 场次", f"{case.room} / {case.broadcast}"),
        ("出现时间", "、".join(clock(ms) for ms in case.times_ms)),
        ("为什么", finding.why.text),
        ("关键词", "、".join(finding.why.words)),
        ("上文", " / ".join(finding.why.context)),
        ("更正", _corrections(case)),
        ("依据", "；".join(map(_basis, finding.basis))),
        ("需核事实", "；".join(finding.facts_to_check)),
        ("合规说法", finding.suggestion),
        ("录音", case.clip_uri),
        ("立案", f"{case.opened_at:%Y-%m-%d %H:%M:%S} UTC"),
        (
            "以前说过",
            "；".join(
                f"{one.id}（{one.opened_at:%Y-%m-%d}，{_STATES[one.state]}）" for one in earlier
            ),
        ),
    ]
    _print_half(finding, out)
    out.print(Text.assemble(("原话", "bold"), "  ", _marked(case.text, finding)))
    for name, value in rows:
        if value:
            out.print(Text.assemble((name, "bold"), "  ", value))
    for one in opinions:
        heard = HEARD_AGAIN[one.heard].format(words=visible(one.words))
        text = visible(one.text) or "没有听出文字"
        out.print(
            Text.assemble(
                (f"复听（{visible(one.model)}）", "bold"),
                f"  [{clock(one.start_ms)}] {text}　{heard}",
            )
        )


def _basis(basis: Basis) -> str:
    """Title, article, first day; where to find it, and whether that was done."""
    unread = "" if basis.verified else "，未核对原文"
    found = basis.link or basis.source
    where = f"，{found}" if found else ""
    return f"{basis.title} {basis.article}（{basis.effective_from} 起{unread}{where}）"


def _corrections(case: Case) -> str:
    """主播随后更正：[1:02.0] …; empty where nothing was taken back."""
    corrections = (finding.why.correction for finding in case.findings)
    return "；".join(
        dict.fromkeys(
            f"主播随后更正：[{clock(one.start_ms)}] {visible(one.text)}"
            for one in corrections
            if one is not None
        )
    )


def print_backtest(result: Backtest, out: Console) -> None:
    """Per rule how many findings each pack raises, and the first lines of what only one does."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("规则", overflow="fold")
    for name in ("只有现行", "只有改后", "两者都有"):
        table.add_column(name, justify="right")
    for rule in result.rules.values():
        table.add_row(rule.rule, *map(str, (rule.only_before, rule.only_after, rule.both)))
    out.print(table)
    for rule in result.rules.values():
        for mark, colour, lines in (
            ("-", "red", rule.lines_before),
            ("+", "green", rule.lines_after),
        ):
            for line in lines:
                out.print(_backtested(mark, colour, rule.rule, line))
    names = ("only_before", "only_after", "both")
    before, after, both = (result.total(name) for name in names)
    out.print(f"现行 {result.before} · 改后 {result.after}")
    out.print(f"{result.broadcasts} 场、{result.utterances} 句")
    out.print(f"有疑似的句子：现行 {result.flagged_before}，改后 {result.flagged_after}")
    out.print(f"疑似：只有现行 {before}，只有改后 {after}，两者都有 {both}")


def _backtested(mark: str, colour: str, rule: str, line: Line) -> Text:
    words = Text(line.text)
    words.stylize(f"bold {colour}", *line.span)
    return Text.assemble(
        (f"{mark} {rule}", colour), (f" {line.broadcast} [{clock(line.start_ms)}] ", "dim"), words
    )


def print_outcome(outcome: Outcome, speed: float, out: Console) -> None:
    """The demo's summary: its script against what was raised, coverage, lag, versions, page."""
    comparison, replay = outcome.comparison, outcome.replay
    total = len(comparison.found) + len(comparison.missed)
    out.rule("小结")
    out.print(
        f"脚本里的违规：{total} 处，"
        f"找到 {len(comparison.found)} 处，漏掉 {len(comparison.missed)} 处"
    )
    for label in comparison.missed:
        out.print(Text(f"    漏：[{clock(label.start_ms)}] {label.text}（{label.note}）", "red"))
    out.print(
        f"看着像其实没问题的：{comparison.lookalikes} 处，误报 {comparison.lookalikes_flagged} 处"
    )
    _print_false_alarms(comparison, out)
    out.print(f"覆盖：{coverage_line(replay.coverage)}")
    if outcome.latencies_ms:
        median, p95 = _quantiles(outcome.latencies_ms)
        out.print(f"话音落到告警：中位 {median:.2f} 秒，p95 {p95:.2f} 秒（{speed:g} 倍速播放）")
    versions = replay.versions
    out.print(
        f"版本：tingbo {versions.engine} · 规则包 {versions.rule_pack} · 语音模型 {versions.asr}"
    )
    out.print(Text(SYNTHETIC, "yellow"))
    out.print(f"报告：{outcome.page}", soft_wrap=True)
    out.print(f"案件：TINGBO_DATA_DIR={outcome.data_dir} tingbo cases list", soft_wrap=True)


def _print_false_alarms(comparison: Comparison, out: Console) -> None:
    for finding in comparison.false_alarms:
        line = f"    误：[{clock(finding.start_ms)}] {finding.evidence}（{finding.rule}）"
        out.print(Text(line, "red"))


def _quantiles(latencies_ms: Sequence[int]) -> tuple[float, float]:
    """Median and 95th percentile in seconds."""
    ordered = sorted(latencies_ms)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return statistics.median(ordered) / 1000, p95 / 1000


class ReplayProgress:
    """Position, times real time and time left of a replay, on stderr; a context manager."""

    def __init__(self, err: Console, total_ms: int | None) -> None:
        self._total_ms = total_ms
        self._begin = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.fields[position]}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("剩余"),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total_ms, position="0:00.0", speed="")

    def __enter__(self) -> ReplayProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def at(self, position_ms: int) -> None:
        """Everything up to `position_ms` is judged."""
        elapsed = max(0.001, time.monotonic() - self._begin)
        total = f" / {clock(self._total_ms)}" if self._total_ms else ""
        self._bar.update(
            self._task,
            completed=position_ms,
            position=clock(position_ms) + total,
            speed=f"{position_ms / 1000 / elapsed:.1f} 倍速",
        )

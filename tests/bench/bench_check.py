"""`tingbo check` on one core: rate, latency, start, memory, and the cost of 100 times the rules.

    python -m tests.bench.bench_check

The text is that of the broadcasts in models/corpus, each line once, read as one broadcast; findings
are turned into the JSON of the command. The floors are bare jieba over the same lines and, for a
start, a process that does nothing but load jieba's dictionary; a bare Aho-Corasick pass looks up
the words of the rule pack. Rates are the median of three passes by wall time, in this process,
bound to one core; on a busy machine the figures by CPU time say more. The grown packs have made-up
rules of words from jieba's dictionary.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ahocorasick
import jieba
import psutil

from pipeline.detect import (
    Classifier,
    Detector,
    RulePack,
    check_lines,
    load_classifier,
    load_rule_pack,
)
from pipeline.detect.normalize import normal_form
from pipeline.resources import resource
from pipeline.settings import Settings
from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
DAY = dt.date(2026, 11, 22)
PASSES, STARTS = 3, 5
WARM_UP = 300
GROWTH = (100, 1_000, 10_000)
#: Words of the made-up rules have this frequency in jieba's dictionary at least.
COMMON = 50
#: A suspicion in each of the ways of looking, so that a start loads all it ever loads.
FIRST_LINE = "专柜九百八今天到我直播间九十九想要的加我薇心\n"
JIEBA = "import jieba, sys; jieba.setLogLevel(60); print(*jieba.cut(sys.stdin.read()))"
_NOT_WORDS = re.compile(r"\[\w+\]|<[\w:]+>|[^\w%+]+")
_HAN_WORD = re.compile(r"[\u4e00-\u9fff]{2,4}")


def pin() -> str:
    """Bind this process and its children to one core, where the system can; which one."""
    if not hasattr(os, "sched_setaffinity"):
        return "not bound to a core"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"bound to core {core}"


def spoken() -> list[str]:
    """The lines of all broadcasts of the corpus, without repeats."""
    texts: dict[str, None] = {}
    for file in sorted(Path(ROOT, "models", "corpus", "broadcasts").glob("*.tsv")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                texts[line.partition("\t")[0]] = None
    if not texts:
        sys.exit("models/corpus/broadcasts has no lines: this bench needs them.")
    return list(texts)


@dataclass(frozen=True, slots=True)
class Checked:
    """What one pass over the lines took and gave."""

    ms: tuple[float, ...]
    """One a line."""
    cpu_ms: tuple[float, ...]
    """The same without the time when other processes had the core."""
    findings: int


def check(lines: Sequence[str], detector: Detector) -> Checked:
    """Check the lines as the command does."""
    stream = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    took, cpu, findings = [], [], 0
    began, cpu_began = time.perf_counter(), time.thread_time()
    for line in check_lines(stream, detector, independent=False, on=DAY):
        json.dumps(line.plain(), ensure_ascii=False)
        findings += len(line.findings)
        ended, cpu_ended = time.perf_counter(), time.thread_time()
        took.append((ended - began) * 1000)
        cpu.append((cpu_ended - cpu_began) * 1000)
        began, cpu_began = ended, cpu_ended
    return Checked(tuple(took), tuple(cpu), findings)


def rate(work: Callable[[], object], count: int) -> float:
    """Of `count` things done by `work`, how many a second; the median of some passes."""
    rates = []
    for _ in range(PASSES):
        began = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - began))
    return statistics.median(rates)


def jieba_ms(lines: Sequence[str]) -> list[float]:
    """Bare jieba over the lines; ms for each."""
    took = []
    for line in lines:
        began = time.perf_counter()
        list(jieba.cut(line))
        took.append((time.perf_counter() - began) * 1000)
    return took


def automaton(words: set[str]) -> ahocorasick.Automaton:
    """An Aho-Corasick automaton of the words."""
    built = ahocorasick.Automaton()
    for word in words:
        built.add_word(word, word)
    built.make_automaton()
    return built


def search(built: ahocorasick.Automaton, lines: Sequence[str]) -> int:
    """All words found in the lines."""
    return sum(1 for line in lines for _ in built.iter(line))


def words_of(pack: RulePack) -> set[str]:
    """Every word that a pattern of the pack names, itself or by its class."""
    classes = tomllib.loads(resource("lexicons", "classes.toml").read_text(encoding="utf-8"))
    found = {word for words in classes["classes"].values() for word in words if "[" not in word}
    for rule in pack.rules:
        for pattern in (*rule.patterns, *rule.earlier):
            found |= {word for word in _NOT_WORDS.split(pattern.source) if word}
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def run(command: list[str], text: str) -> tuple[float, float]:
    """(wall seconds, highest resident MB) of a process that reads `text` on its standard input."""
    with tempfile.TemporaryFile() as source:
        source.write(text.encode())
        source.seek(0)
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdin=source, stdout=subprocess.DEVNULL, cwd=ROOT
        ) as process:
            highest = _watch(process)
        wall = time.perf_counter() - began
    if process.returncode not in (0, 1):
        sys.exit(f"{command} ended with {process.returncode}")
    return wall, highest / 2**20


def _watch(process: subprocess.Popen[bytes]) -> int:
    seen, highest = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            highest = max(highest, seen.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.005)
    return highest


def start_s(command: list[str]) -> float:
    """Wall seconds of a fresh process on one line; the median, after one that fills disk caches."""
    run(command, FIRST_LINE)
    return statistics.median(run(command, FIRST_LINE)[0] for _ in range(STARTS))


def write_grown(folder: Path, count: int) -> None:
    """Write a pack of `count` made-up rules with the shared files of lexicons/."""
    folder.mkdir()
    for file in sorted(resource("lexicons").glob("*.toml")):
        content = file.read_text(encoding="utf-8")
        if "rule" not in tomllib.loads(content):
            Path(folder, file.name).write_text(content, encoding="utf-8")
    jieba.initialize()
    words = jieba.dt.FREQ.items()
    common = sorted(w for w, often in words if often >= COMMON and _HAN_WORD.fullmatch(w))
    drawn = random.Random(0).sample([w for w in common if normal_form(w) == w], 2 * count)
    rules = [_rule(number, *drawn[2 * number : 2 * number + 2]) for number in range(count)]
    head = 'category = "efficacy_claim"\n'
    Path(folder, "grown.toml").write_text(head + "".join(rules), encoding="utf-8")


def _rule(number: int, word: str, other: str) -> str:
    """Every second rule asks for two words, the others for one."""
    pattern, text = (f"{word}…{other}", f"{word}和{other}") if number % 2 else (word, word)
    flag = ",".join(f'{{text="{text}{n}",span_text="{text}"}}' for n in "甲乙丙")
    return f"""
[[rule]]
id = "E01-grown-{number}"
subtype = "E01"
severity = 2
score = 0.7
target = "own"
patterns = ["{pattern}"]
why = "“{{evidence}}”"
basis = ["live-commerce-34"]
facts_to_check = ["有无依据"]
suggestion = "说明成分和用法"
flag = [{flag}]
pass = ["甲","乙","丙"]
"""


def report_speed(lines: Sequence[str], detector: Detector) -> None:
    """Rate and latency beside jieba's, and the Aho-Corasick pass."""
    pack = detector.pack
    check(lines[:WARM_UP], detector)
    jieba_ms(lines[:WARM_UP])
    built = automaton(words_of(pack))
    cut = rate(partial(jieba_ms, lines), len(lines))
    passed = rate(partial(search, built, lines), len(lines))
    began = time.process_time()
    ours = rate(partial(check, lines, detector), len(lines))
    cpu = PASSES * len(lines) / (time.process_time() - began)
    unit = "utterances/s"
    Figure("check, one core", ours, unit, cut, "≥ 1500").report()
    Figure("check, per second of CPU time", cpu, unit).report()
    Figure("check ÷ bare jieba", ours / cut, "×").report()
    Figure(f"bare Aho-Corasick, {len(words_of(pack))} words", passed, unit).report()
    Figure("check ÷ bare Aho-Corasick", ours / passed, "×").report()
    took, floor = check(lines, detector), jieba_ms(lines)
    for share in (0.5, 0.99):
        name, aim = f"one utterance, p{share * 100:.0f}", "≤ 3" if share > 0.5 else ""
        Figure(name, percentile(took.ms, share), "ms", percentile(floor, share), aim).report()
        Figure(f"{name}, CPU time", percentile(took.cpu_ms, share), "ms").report()


def report_process(lines: Sequence[str]) -> None:
    """Start and memory of the command as a process of its own."""
    command = [sys.executable, "-m", "pipeline", "check", "--json"]
    bare = [sys.executable, "-c", JIEBA]
    Figure("one line, whole process", start_s(command), "s", start_s(bare), "≤ 1.5").report()
    text = "".join(f"{line}\n" for line in lines)
    Figure("peak memory", run(command, text)[1], "MB", run(bare, text)[1], "≤ 300").report()


def report_growth(lines: Sequence[str], classifier: Classifier) -> None:
    """Load time and rate with packs of more and more rules."""
    with tempfile.TemporaryDirectory() as name:
        for count in GROWTH:
            folder = Path(name, str(count))
            write_grown(folder, count)
            began = time.perf_counter()
            detector = Detector(load_rule_pack(folder), classifier)
            loading = time.perf_counter() - began
            found = check(lines, detector).findings
            speed = rate(partial(check, lines, detector), len(lines))
            print(f"{count} made-up rules: {found} findings in {len(lines)} lines")
            Figure(f"check with {count} made-up rules", speed, "utterances/s").report()
            Figure(f"loading them, {count}", loading, "s").report()


def main() -> None:
    """Measure and report."""
    jieba.setLogLevel(60)
    where = pin()
    lines, pack = spoken(), load_rule_pack()
    classifier = load_classifier(Settings().effective_classifier_dir)
    characters = sum(map(len, lines))
    print(
        f"{len(lines)} lines, {characters / len(lines):.0f} characters each, "
        f"{len(pack.rules)} rules, {where}"
    )
    report_process(lines)
    report_speed(lines, Detector(pack, classifier))
    report_growth(lines, classifier)


if __name__ == "__main__":
    main()

"""Normalising what was said: numbers, evasive wording, and the time both take.

    python -m tests.bench.bench_normal [DATA]

DATA is the folder that holds numbers/wetext and liveamr/morph_train.tsv, by default ../shared/data
beside the checkout. Texts are compared in normal form, without punctuation and spoken particles.
"""

from __future__ import annotations

import math
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from pathlib import Path

from pipeline.detect.morphs import Morphs, read_morphs
from pipeline.detect.normalize import normal_form, normalize
from pipeline.detect.numbers import quantities
from pipeline.detect.restore import changes_of, reading_of
from pipeline.resources import resource
from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
CORPUS = ROOT / "models" / "corpus" / "broadcasts"
#: What the engine has for an utterance of this many characters.
LENGTH = 30
BUDGET_US = 120
_ROUNDS = 5

_PART = r"\d+(?:\.\d+)?"
_WRITTEN = re.compile(
    rf"(?P<hours>\d+):(?P<minutes>\d\d)|(?P<above>[1-9]\d*)/(?P<below>[1-9]\d*)(?![\d/])"
    rf"|(?P<yuan>\d+)块(?P<tenths>\d)毛?|(?P<low>{_PART})[~-](?P<high>{_PART})(?P<power>[千万亿]?)"
    rf"|(?P<sum>(?:{_PART}[百千万亿])*{_PART}[百千万亿]?)"
)
_SUMMAND = re.compile(rf"({_PART})([百千万亿]?)")
_FACTORS = {"": 1, "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}
#: Files that test options of another program: what it leaves in characters is no disagreement.
_OPTIONS = "standalone"

Edits = set[tuple[int, str]]


def written_values(text: str) -> list[list[float]]:
    """Values of the numbers of a written text: one each, two for a range; "8:30" is 8.5."""
    return [_written(found) for found in _WRITTEN.finditer(text)]


def _written(found: re.Match[str]) -> list[float]:
    if found["hours"]:
        return [int(found["hours"]) + int(found["minutes"]) / 60]
    if found["above"]:
        return [int(found["above"]) / int(found["below"])]
    if found["yuan"]:
        return [int(found["yuan"]) + int(found["tenths"]) / 10]
    if found["low"]:
        return [float(found[name]) * _FACTORS[found["power"]] for name in ("low", "high")]
    return [sum(float(part) * _FACTORS[power] for part, power in _SUMMAND.findall(found["sum"]))]


def same_numbers(spoken: str, written: str) -> bool:
    """Whether both have the same numbers in order; of a range the first is enough."""
    found = quantities(normal_form(spoken))
    heard = [item.value for item in found if item.value is not None]
    for values in written_values(written):
        if not heard or not math.isclose(heard.pop(0), values[0], rel_tol=1e-3):
            return False
        if heard and len(values) > 1 and math.isclose(heard[0], values[1], rel_tol=1e-3):
            heard.pop(0)
    return not heard


def numbers(folder: Path) -> None:
    """How many spoken texts have exactly the numbers of their written form, file by file."""
    right = total = 0
    for file in sorted(folder.glob("*.txt")):
        pairs = [line.split(" => ") for line in file.read_text(encoding="utf-8").splitlines()]
        agree = [same_numbers(*pair) for pair in pairs if len(pair) == 2]
        note = " (not counted: options of another program)" if _OPTIONS in file.name else ""
        print(f"{file.name}: {sum(agree)} of {len(agree)}{note}")
        if not note:
            right, total = right + sum(agree), total + len(agree)
    Figure("number pairs that agree", 100 * right / total, "%").report()


def edits(said: str, meant: str) -> Edits:
    """What happens to each character of `said`: it is left out, replaced, or gets a new neighbour.

    A stretch replaced by one of another length has its new text at its first character. Of equal
    neighbours the first is the one left out.
    """
    found: Edits = set()
    for kind, start, end, first, last in SequenceMatcher(
        None, said, meant, autojunk=False
    ).get_opcodes():
        new = meant[first:last]
        if kind == "insert":
            found.add((start, "+" + new))
        elif kind == "replace" and end - start == len(new):
            found.update((start + index, new[index]) for index in range(len(new)))
        elif kind != "equal":
            back = 0 if new else _to_the_left(said, start, end)
            left = start - back
            found.update((at, new if at == left else "") for at in range(left, end - back))
    return found


def _to_the_left(said: str, start: int, end: int) -> int:
    """How far [start, end) can be moved without changing what is left when it is cut out."""
    back = 0
    while start > back and said[start - back - 1] == said[end - back - 1]:
        back += 1
    return back


def restoration(file: Path, morphs: Morphs) -> None:
    """Precision, recall and F0.5 over the edits of characters, and plain lines left alone."""
    right = made = wanted = plain = changed = 0
    for line in file.read_text(encoding="utf-8").splitlines():
        original, restored = line.split("\t")
        said = normal_form(original)
        ours = edits(said, reading_of(original, morphs).text)
        theirs = edits(said, normal_form(restored))
        right, made, wanted = right + len(ours & theirs), made + len(ours), wanted + len(theirs)
        plain += not theirs
        changed += bool(ours and not theirs)
    precision, recall = right / max(1, made), right / max(1, wanted)
    score = 1.25 * precision * recall / max(1e-9, 0.25 * precision + recall)
    Figure("restoration, precision", 100 * precision, "%").report()
    Figure("restoration, recall", 100 * recall, "%").report()
    Figure("restoration, F0.5", score, "").report()
    Figure(f"of {plain} LiveAMR texts to leave alone, changed", changed, "texts").report()


def plain_lines() -> list[str]:
    """Lines of our own broadcasts that are labelled as harmless."""
    files = sorted(CORPUS.glob("*.tsv"))
    rows = [line.split("\t") for file in files for line in file.read_text("utf-8").splitlines()]
    return [row[0] for row in rows if len(row) > 1 and row[1] == "none"]


def left_alone(lines: list[str], morphs: Morphs) -> None:
    """How many harmless lines are restored; most of these do hold a code name or a homophone."""
    changed = sum(bool(changes_of(line, morphs)) for line in lines)
    Figure(f"of {len(lines)} plain lines of ours, changed", changed, "lines").report()


def microseconds(work: Callable[[str], object], texts: Iterable[str]) -> float:
    """CPU time of `work` on one text that it has not seen, the best of some rounds."""
    rounds = []
    for number in range(_ROUNDS):
        # Another last character each round, so that no cache answers.
        fresh = [text + chr(0x4E00 + number) for text in texts]
        start = time.process_time()
        for text in fresh:
            work(text)
        rounds.append((time.process_time() - start) / len(fresh) * 1e6)
    return min(rounds)


def speed(lines: list[str], morphs: Morphs) -> None:
    """Reading an utterance that is not evasive, beside the least that could be done with it."""
    long = [line[:LENGTH] for line in lines if len(line) >= LENGTH]
    texts = [line for line in dict.fromkeys(long) if not changes_of(line, morphs)]
    floor = microseconds(lambda text: text.translate({}), texts)
    aim = f"≤ {BUDGET_US} for both"
    Figure("normalize", microseconds(normalize, texts), "µs", floor, aim).report()
    reading = microseconds(lambda text: reading_of(text + "。", morphs), texts)
    Figure("normalize and restore", reading, "µs", floor, aim).report()


def main(data: Path) -> None:
    """Measure and report; what has no data is said and left out."""
    text = resource("lexicons", "morphs.toml").read_text(encoding="utf-8")
    morphs = read_morphs(tomllib.loads(text))
    pairs, morph_pairs = data / "numbers" / "wetext", data / "liveamr" / "morph_train.tsv"
    if pairs.is_dir():
        numbers(pairs)
    else:
        print(f"Number pairs are not measured: there is no folder {pairs}.")
    if morph_pairs.is_file():
        restoration(morph_pairs, morphs)
    else:
        print(f"Restoration is not measured: there is no file {morph_pairs}.")
    lines = plain_lines()
    if lines:
        left_alone(lines, morphs)
        speed(lines, morphs)
    else:
        print(f"Plain lines and speed are not measured: {CORPUS} has no lines.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)

"""The command line as other programs meet it: output, exit codes, and what bad input gets."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.records import SegmentKey, SegmentMessage, Transcript
from pipeline.store import Store
from tests.detect.packs import extra, rule, rules, write_extra, write_pack

PITCH = "专柜九百八今天九十九直接带走"


class Tingbo:
    """Runs the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch

    def __call__(self, *argv: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        self._patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        with pytest.raises(SystemExit) as ended:
            main(list(argv))
        out, err = self._capsys.readouterr()
        return int(ended.value.code or 0), out, err


@pytest.fixture
def tingbo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Tingbo:
    """`tingbo` with a data folder of its own."""
    monkeypatch.setenv("TINGBO_DATA_DIR", str(tmp_path / "data"))
    return Tingbo(capsys, monkeypatch)


def test_check_gives_a_line_of_json_for_every_line_in_order(tingbo: Tingbo) -> None:
    """Clean lines and empty lines are there too, and the contract's keys are exactly these."""
    text = f"大家晚上好\n\n1500\t{PITCH}\n".encode()
    code, out, _ = tingbo("check", "--json", stdin=text)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(row["line"], row["text"]) for row in rows] == [(1, "大家晚上好"), (2, ""), (3, PITCH)]
    assert [len(row["findings"]) > 0 for row in rows] == [False, False, True]
    assert rows[2]["start_ms"] == 1500
    finding = rows[2]["findings"][0]
    assert set(finding) == {
        "category", "subtype", "rule", "score", "verdict", "span", "evidence", "why",
    }  # fmt: skip
    assert finding["category"] == "false_price_comparison"
    a, b = finding["span"]
    assert PITCH[a:b] == finding["evidence"]


def test_clean_text_exits_with_0(tingbo: Tingbo, tmp_path: Path) -> None:
    """Nothing found is code 0 and no output."""
    (tmp_path / "clean.txt").write_text("这件衣服是纯棉的\n", encoding="utf-8")
    assert tingbo("check", str(tmp_path / "clean.txt"))[:2] == (0, "")


def test_text_that_is_not_utf8_is_named_and_not_dropped(tingbo: Tingbo) -> None:
    """The line is still in the output, its place is told, and the code says bad input."""
    code, out, err = tingbo("check", "--json", stdin="好\n".encode() + b"\xff\xfe\n")
    assert code == 2
    assert len(out.splitlines()) == 2
    assert "Line 2 is not UTF-8: byte 0xff at offset 0" in err


def test_a_missing_text_file_is_named(tingbo: Tingbo) -> None:
    """One sentence with the name and the remedy, and code 2."""
    code, out, err = tingbo("check", "/nowhere/a.txt")
    assert (code, out) == (2, "")
    assert "/nowhere/a.txt cannot be read (No such file or directory): give a text file" in err


def test_an_unknown_option_is_a_usage_error(tingbo: Tingbo) -> None:
    """The library's own message, code 2, no traceback."""
    code, _, err = tingbo("check", "--frobnicate")
    assert code == 2
    assert "No such option: --frobnicate" in err
    assert "Traceback" not in err


def test_an_empty_queue_says_so(tingbo: Tingbo) -> None:
    """A new installation lists no cases, as text and as JSON."""
    assert tingbo("cases", "list")[:2] == (0, "队列是空的。\n")
    assert json.loads(tingbo("cases", "list", "--json")[1]) == []


def test_an_unknown_case_is_named(tingbo: Tingbo) -> None:
    """Code 2 and where to look."""
    code, _, err = tingbo("cases", "show", "c-none")
    assert code == 2
    assert "Case c-none does not exist" in err


def test_the_bundled_rules_do_what_their_examples_say(tingbo: Tingbo) -> None:
    """`tingbo rules check` passes on the rule packs that ship."""
    code, out, _ = tingbo("rules", "check")
    assert (code, " 0 failures" in out) == (0, True)


def test_a_folder_of_ones_own_rules_is_used_by_all_commands(
    tingbo: Tingbo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting lexicons_dir: its rules judge, its examples are tried, its version is told."""
    folder = write_pack(tmp_path / "pack")
    monkeypatch.setenv("TINGBO_LEXICONS_DIR", str(folder))
    _, out, _ = tingbo("check", "--json", stdin="想要的加我微信发货\n".encode())
    assert [one["rule"] for one in json.loads(out)["findings"]] == ["S01-contact"]
    assert tingbo("rules", "check")[1].startswith("1 rules, ")
    assert "1 rules, version 1, content " in tingbo("doctor")[1]
    (folder / "basis.toml").unlink()
    code, _, err = tingbo("check", stdin=b"x\n")
    assert (code, f"Rule pack {folder} has no basis.toml" in err) == (2, True)


def test_a_folder_that_is_none_is_named(
    tingbo: Tingbo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with the reason and the remedy, before anything is judged."""
    monkeypatch.setenv("TINGBO_LEXICONS_DIR", str(tmp_path / "nowhere"))
    code, out, err = tingbo("check", stdin=b"x\n")
    assert (code, out) == (2, "")
    assert f"Rule pack {tmp_path / 'nowhere'} is not a folder: set lexicons_dir" in err


def test_rules_check_tries_extra_packs_too(tingbo: Tingbo, tmp_path: Path) -> None:
    """Whether they are on or not; what is no failure and should not stay is a warning."""
    folder = write_extra(write_pack(tmp_path / "pack"), absolute=extra())
    assert tingbo("rules", "check", str(folder))[1].startswith("2 rules, 24 examples, 0 failures")
    wrong = extra().replace('"大家好"', '"全国第一"')
    write_extra(folder, absolute=wrong.replace('basis = ["new"]', 'basis = ["old"]'))
    code, out, err = tingbo("rules", "check", str(folder))
    assert code == 2
    assert "A01-best must let '全国第一' pass and flags '全国第一'." in out
    assert "Warning: A01-best rests on nothing that is in force" in err


@pytest.fixture
def stored(tingbo: Tingbo, tmp_path: Path) -> Tingbo:
    """`tingbo` with one stored broadcast of two utterances."""
    tmp_path.joinpath("data").mkdir()
    at = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    with Store(f"sqlite:///{tmp_path / 'data' / 'tingbo.sqlite3'}") as store:
        store.add_broadcast("room", "b", at)
        for seq, text in enumerate(["大家好", "今天天气不错"]):
            key = SegmentKey("b", 0, seq)
            store.add_segment(SegmentMessage(key, "room", seq, seq + 1, at, "clip", "0" * 64))
            store.add_transcript(key, Transcript(seq, seq + 1, text))
    return tingbo


def test_a_backtest_without_a_difference_exits_with_0(stored: Tingbo, tmp_path: Path) -> None:
    """Both packs raise the same: nothing."""
    pack = write_pack(tmp_path / "pack")
    code, out, _ = stored("rules", "backtest", "--pack", str(pack))
    assert (code, "1 场、2 句" in out) == (0, True)


def test_a_backtest_with_a_difference_exits_with_1(stored: Tingbo, tmp_path: Path) -> None:
    """The rule, the line and the totals, as a table and as JSON."""
    weather = rules(rule(patterns='"天气"', flag=("好天气", "天气")))
    pack = write_pack(tmp_path / "pack", solicit=weather)
    code, out, _ = stored("rules", "backtest", "--pack", str(pack))
    assert code == 1
    assert "+ S01-contact b [0:00.0] 今天天气不错" in out
    assert "疑似：只有现行 0，只有改后 1，两者都有 0" in out
    code, out, _ = stored("rules", "backtest", "--pack", str(pack), "--broadcast", "b", "--json")
    assert code == 1
    assert json.loads(out)["findings"] == {"both": 0, "only_before": 0, "only_after": 1}


def test_a_backtest_of_a_broken_pack_says_where(stored: Tingbo, tmp_path: Path) -> None:
    """Code 2 with file, line and reason; the same for a broadcast that is not there."""
    pack = write_pack(tmp_path / "pack", solicit=rules(rule(patterns='"[nobody]"')))
    code, _, err = stored("rules", "backtest", "--pack", str(pack))
    assert (code, "solicit.toml, line 5, S01-contact" in err) == (2, True)
    code, _, err = stored("rules", "backtest", "--broadcast", "none")
    assert (code, "Broadcast none is not stored" in err) == (2, True)


def test_a_pack_that_does_not_exist_is_refused_by_name(
    stored: Tingbo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in the setting is not the same as no extra pack."""
    monkeypatch.setenv("TINGBO_PACKS", "nonsense")
    code, _, err = stored("rules", "backtest")
    assert (code, "no extra rule pack nonsense" in err) == (2, True)


def test_a_single_role_without_a_bus_says_what_to_set(tingbo: Tingbo) -> None:
    """Roles share a bus: without redis_url the way out is named, code 3."""
    code, _, err = tingbo("detect")
    assert code == 3
    assert "TINGBO_REDIS_URL" in err


def test_a_bad_setting_names_key_value_and_expectation(tingbo: Tingbo) -> None:
    """Settings of the command line are read like those of the file."""
    code, _, err = tingbo("replay", "--device", "tpu", "x.wav")
    assert code == 2
    assert "device" in err
    assert "'tpu'" in err
    assert '"cuda"' in err


def test_version(tingbo: Tingbo) -> None:
    """`tingbo --version` prints the package's version alone."""
    from pipeline import __version__

    assert tingbo("--version")[:2] == (0, f"{__version__}\n")

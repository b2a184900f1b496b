"""Detection: utterances become findings, by rule packs that are data (lexicons/)."""

from pipeline.detect.check import CheckedLine, check_lines
from pipeline.detect.engine import CONTEXT_MS, ENGINE_VERSION, detect
from pipeline.detect.lexicon import load_rule_pack
from pipeline.detect.pack import Rule, RulePack
from pipeline.detect.selftest import Failure, self_test

__all__ = [
    "CONTEXT_MS",
    "ENGINE_VERSION",
    "CheckedLine",
    "Failure",
    "Rule",
    "RulePack",
    "check_lines",
    "detect",
    "load_rule_pack",
    "self_test",
]

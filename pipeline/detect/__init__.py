"""Detection: utterances become findings, by rule packs that are data (lexicons/)."""

from pipeline.detect.basis import legal_day
from pipeline.detect.check import CheckedLine, check_lines, opened_text
from pipeline.detect.classifier import Classifier, load_classifier
from pipeline.detect.detector import Detected, Detector, load_detector
from pipeline.detect.engine import CONTEXT_MS, ENGINE_VERSION, RuleReading, read_rules
from pipeline.detect.lexicon import extra_packs, load_rule_pack
from pipeline.detect.pack import Rule, RulePack
from pipeline.detect.selftest import Failure, examples_in, self_test, warnings
from pipeline.detect.talk import Talk
from pipeline.detect.watch import PackWatch

__all__ = [
    "CONTEXT_MS",
    "ENGINE_VERSION",
    "CheckedLine",
    "Classifier",
    "Detected",
    "Detector",
    "Failure",
    "PackWatch",
    "Rule",
    "RulePack",
    "RuleReading",
    "Talk",
    "check_lines",
    "examples_in",
    "extra_packs",
    "legal_day",
    "load_classifier",
    "load_detector",
    "load_rule_pack",
    "opened_text",
    "read_rules",
    "self_test",
    "warnings",
]

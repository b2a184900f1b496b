"""What a correction does to a finding: the suspicion stays, and the mitigation is told."""

from __future__ import annotations

from dataclasses import replace

from pipeline.records import Correction, Finding, Verdict

#: A correction is quoted in the reason up to this many characters.
_QUOTED = 40


def corrected(finding: Finding, correction: Correction) -> Finding:
    """The finding of a claim that was taken back later: a person decides, knowing that.

    The first correction counts.
    """
    if finding.why.correction is not None:
        return finding
    text = f"{finding.why.text}(减轻情节:主播随后更正“{correction.text[:_QUOTED]}”)"
    return replace(
        finding,
        verdict=Verdict.REVIEW if finding.verdict is Verdict.BLOCK else finding.verdict,
        why=replace(finding.why, text=text, correction=correction),
    )

"""The review queue: findings that a reviewer decides together are one case."""

from pipeline.review.opening import case_id, file_findings, same_pitch
from pipeline.review.opinion import Opinion

__all__ = ["Opinion", "case_id", "file_findings", "same_pitch"]

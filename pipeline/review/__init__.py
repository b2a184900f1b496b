"""The review queue: findings that a reviewer decides together are one case."""

from pipeline.review.opening import case_id, file_findings, same_pitch

__all__ = ["case_id", "file_findings", "same_pitch"]

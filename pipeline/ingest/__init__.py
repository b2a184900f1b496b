"""Ingest: a live room or a recording becomes speech segments and a ledger of everything else."""

from pipeline.ingest.segment import SegmentOptions, segments
from pipeline.ingest.source import Source, SourceInfo, SourceOptions, open_source
from pipeline.ingest.vad import Vad

__all__ = [
    "SegmentOptions",
    "Source",
    "SourceInfo",
    "SourceOptions",
    "Vad",
    "open_source",
    "segments",
]

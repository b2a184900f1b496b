"""What must outlive the hour: broadcasts, segments, transcripts, findings, cases, coverage."""

from pipeline.store.cases import Opening
from pipeline.store.ledger import coverage_of
from pipeline.store.store import Broadcast, Room, Store

__all__ = ["Broadcast", "Opening", "Room", "Store", "coverage_of"]

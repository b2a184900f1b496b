"""What must outlive the hour: broadcasts, segments, transcripts, findings, cases, coverage."""

from pipeline.store.cases import Opening
from pipeline.store.epochs import Before, Epoch, Epochs
from pipeline.store.ledger import coverage_of
from pipeline.store.rooms import Change, Room, RoomEntry, Rooms, RoomState
from pipeline.store.store import Broadcast, Store

__all__ = [
    "Before",
    "Broadcast",
    "Change",
    "Epoch",
    "Epochs",
    "Opening",
    "Room",
    "RoomEntry",
    "RoomState",
    "Rooms",
    "Store",
    "coverage_of",
]

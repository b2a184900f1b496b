"""What people read afterwards: the self-check of a recording as JSON, table and HTML page."""

from pipeline.reports.conclusion import conclusion
from pipeline.reports.html import write_replay_html
from pipeline.reports.replay import Replay, replay_json
from pipeline.reports.sound import Sound, SoundTrack
from pipeline.reports.table import replay_table

__all__ = [
    "Replay",
    "Sound",
    "SoundTrack",
    "conclusion",
    "replay_json",
    "replay_table",
    "write_replay_html",
]

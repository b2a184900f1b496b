"""Speech recognition: segments become transcripts, through a small protocol."""

from pipeline.asr.model import load_recogniser
from pipeline.asr.recogniser import Recogniser

__all__ = ["Recogniser", "load_recogniser"]

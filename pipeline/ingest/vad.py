"""Speech probability of a running stream: Silero's network from the file that faster-whisper ships.

One pass over a whole recording and any cutting of it into calls give the same probabilities: the
state and the last samples are carried from call to call.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MissingError

#: Samples per probability: 32 ms.
FRAME = 512

_CONTEXT = 64
_MODEL = "silero_vad_v6.onnx"


class SpeechDetector(Protocol):
    """What cuts speech needs of a detector."""

    def probabilities(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of speech, shape [n], for the next frames of the stream, shape [n, FRAME]."""
        ...

    def reset(self) -> None:
        """Forget the stream: what follows does not continue it."""
        ...


class Vad:
    """Streaming Silero on one thread. One instance per room, for it carries the room's state.

    Raises MissingError when the network is not part of the installed faster-whisper.
    """

    def __init__(self) -> None:
        self._network = _network()
        self.reset()

    def reset(self) -> None:
        """Forget the stream: what follows does not continue it."""
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._tail = np.zeros(_CONTEXT, np.float32)

    def probabilities(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of speech, shape [n], for the next frames of the stream, shape [n, FRAME].

        All frames go through the network in one call: eight cost a third less than one by one.
        """
        if not len(frames):
            return np.zeros(0, np.float32)
        inputs = np.empty((len(frames), _CONTEXT + FRAME), np.float32)
        inputs[:, _CONTEXT:] = frames
        inputs[0, :_CONTEXT] = self._tail
        inputs[1:, :_CONTEXT] = frames[:-1, -_CONTEXT:]
        self._tail = frames[-1, -_CONTEXT:].copy()
        result, self._h, self._c = self._network.run(
            None, {"input": inputs, "h": self._h, "c": self._c}
        )
        probabilities: NDArray[np.float32] = result.reshape(-1)
        return probabilities


@cache
def _network() -> Any:
    """The loaded network: it holds no state, and all rooms of a process share it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        str(model_path()), providers=["CPUExecutionProvider"], sess_options=options
    )


def model_path() -> Path:
    """Where the network lies. Raises MissingError when faster-whisper does not bring it."""
    # Importing faster-whisper would load CTranslate2 into processes that only ingest.
    package = importlib.util.find_spec("faster_whisper")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "assets" / _MODEL
        if path.is_file():
            return path
    raise MissingError(
        f"The speech detector {_MODEL} is not part of the installed faster-whisper: "
        "install faster-whisper 1.2 or newer."
    )

"""Finding and opening a speech model by name or path."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from pipeline.asr.canary import check_canary
from pipeline.asr.guards import read_inventions
from pipeline.asr.recogniser import Recogniser, WhisperRecogniser
from pipeline.errors import ModelError
from pipeline.resources import resource

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

#: Name of the bundled model.
DEMO = "demo"

_FILES = ("config.json", "model.bin", "tokenizer.json")
_SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|notimestamps|>",
)
_POSITIONS = "decoder/position_encodings/encodings"
#: The first that the device supports.
_COMPUTE_TYPES = {
    "cpu": ("int8", "int8_float32", "float32"),
    "cuda": ("float16", "int8_float16", "float32"),
}


def load_recogniser(name_or_path: str, *, device: str, progress: TextIO | None) -> Recogniser:
    """The recogniser for "demo", a faster-whisper name, a repository of the hub, or a folder.

    `device` is "auto", "cpu" or "cuda"; a download draws its bar on `progress`. Raises ModelError,
    also when the model does not understand the canary clip.
    """
    recogniser = open_recogniser(name_or_path, device=device, progress=progress)
    check_canary(recogniser)
    return recogniser


def open_recogniser(
    name_or_path: str,
    *,
    device: str,
    progress: TextIO | None = None,
    threads: int = 0,
    word_times: bool = True,
) -> WhisperRecogniser:
    """As `load_recogniser`, not proven by the canary yet.

    `threads` is for the CPU; 0 lets CTranslate2 choose.
    """
    bundled = resource("models", "asr_demo", "weights")
    folder = _folder(name_or_path, bundled, progress)
    _check_files(folder)
    model = _open(folder, _device(device), threads)
    inventions = resource("lexicons", "hallucinations.txt").read_text(encoding="utf-8")
    is_demo = folder.resolve() == bundled.resolve()
    is_path = Path(name_or_path).is_dir()
    return WhisperRecogniser(
        model,
        name=DEMO if is_demo else folder.resolve().name if is_path else name_or_path,
        decoder_positions=decoder_positions(folder),
        inventions=read_inventions(inventions.splitlines()),
        synthetic_only=is_demo,
        word_times=word_times,
    )


def decoder_positions(folder: Path) -> int:
    """How many tokens the decoder of a CTranslate2 folder can hold, prompt included.

    CTranslate2 does not tell, and fails in the middle of a text that grows longer. Raises
    ModelError for a folder that is no Whisper.
    """
    try:
        with (folder / "model.bin").open("rb") as file:
            return _rows_of_variable(file, _POSITIONS)
    except (struct.error, UnicodeDecodeError, KeyError) as error:
        raise ModelError(
            f"File {folder / 'model.bin'} is not a Whisper in CTranslate2 format: convert the "
            "model with ct2-transformers-converter, or copy it again."
        ) from error


def _rows_of_variable(file: BinaryIO, wanted: str) -> int:
    """First dimension of a variable in CTranslate2's binary format (version 4 and later)."""

    def number(code: str) -> int:
        return int(struct.unpack(f"<{code}", file.read(struct.calcsize(code)))[0])

    def string() -> str:
        return file.read(number("H"))[:-1].decode()

    number("I")  # version of the format
    string()  # name of the specification
    number("I")  # its revision
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        number("B")  # type
        if name == wanted:
            return shape[0]
        file.seek(number("I"), 1)
    raise KeyError(wanted)


def _folder(name_or_path: str, bundled: Path, progress: TextIO | None) -> Path:
    from pipeline.asr import hub

    if name_or_path == DEMO:
        return bundled
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    repository = hub.repository(name_or_path)
    if repository is None:
        raise ModelError(
            f"Speech model {name_or_path} is neither a folder here nor a known name: give the path "
            f"of a CTranslate2 folder or one of demo, {', '.join(hub.names())}."
        )
    return hub.fetch(name_or_path, repository, progress)


def _check_files(folder: Path) -> None:
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if not any(folder.glob("vocabulary.*")):
        missing.append("vocabulary.json")
    if missing:
        raise ModelError(
            f"Speech model folder {folder} lacks {', '.join(missing)}: give a folder with a "
            "Whisper in CTranslate2 format and its tokenizer.json."
        )
    try:
        vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        known = {token["content"] for token in vocabulary["added_tokens"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"File {folder / 'tokenizer.json'} is not a tokenizer: copy the model again."
        ) from error
    unknown = [token for token in _SPECIALS if token not in known]
    if unknown:
        raise ModelError(
            f"File {folder / 'tokenizer.json'} lacks {', '.join(unknown)}: use the tokenizer that "
            "belongs to the Whisper model."
        )


def _device(device: str) -> str:
    import ctranslate2

    visible = ctranslate2.get_cuda_device_count() > 0
    if device == "cuda" and not visible:
        raise ModelError(
            "No CUDA device is visible here: use device cpu, or install the NVIDIA driver and "
            "show the device to this process."
        )
    return "cuda" if visible and device != "cpu" else "cpu"


def _open(folder: Path, device: str, threads: int) -> WhisperModel:
    import ctranslate2
    from faster_whisper import WhisperModel

    supported = ctranslate2.get_supported_compute_types(device)
    compute_type = next(kind for kind in _COMPUTE_TYPES[device] if kind in supported)
    try:
        model = WhisperModel(
            str(folder), device=device, compute_type=compute_type, cpu_threads=threads
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(
            f"Speech model folder {folder} cannot be loaded on {device} ({error}): copy the model "
            "again, or convert it with a version of CTranslate2 that fits."
        ) from error
    bands = model.feature_extractor.mel_filters.shape[0]
    if bands != model.model.n_mels:
        raise ModelError(
            f"Speech model folder {folder} wants {model.model.n_mels} mel bands and its "
            f"preprocessor_config.json makes {bands}: copy the preprocessor_config.json that "
            "belongs to the model."
        )
    return model

"""Opening a model: each way it can go wrong is one sentence with the way out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.asr import load_recogniser
from pipeline.asr.model import decoder_positions, open_recogniser
from pipeline.errors import ModelError
from tests.asr.random_whisper import DEMO, MULTILINGUAL, write_random_whisper

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_whisper(tmp_path_factory.mktemp("model") / "tiny-random", DEMO)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(original, tmp_path / "tiny-random"))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_recogniser(str(folder), device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_a_folder_is_named_after_itself(folder: Path) -> None:
    """The name that goes into reports is the folder's, without the path to it."""
    recogniser = open_recogniser(f"{folder}/", device="auto")
    assert recogniser.name == "tiny-random"
    assert not recogniser.synthetic_only


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", "config.json", "vocabulary.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """An incomplete folder is refused before anything asks the network for the rest."""
    (folder / name).unlink()
    message = refusal(folder)
    assert f"lacks {name}:" in message
    assert str(folder) in message


def test_a_file_that_is_no_folder_is_refused(folder: Path) -> None:
    """A path to a file of the model is answered with what is wanted."""
    assert "give a folder with a Whisper" in refusal(folder / "model.bin")


def test_a_truncated_network_is_refused(folder: Path) -> None:
    """A copy that broke off is not loaded."""
    data = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(data[: len(data) // 2])
    assert "cannot be loaded on cpu" in refusal(folder)


def test_another_format_is_refused(folder: Path) -> None:
    """Weights of another program are recognised as such."""
    (folder / "model.bin").write_bytes(b"PK\x03\x04" * 100)
    message = refusal(folder)
    assert "cannot be loaded" in message or "not a Whisper" in message


@pytest.mark.parametrize("text", ["not json", "[]", "{}"])
def test_a_broken_tokenizer_is_refused(folder: Path, text: str) -> None:
    """A tokenizer.json that is none is named."""
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    assert "is not a tokenizer" in refusal(folder)


def test_a_foreign_tokenizer_is_refused(folder: Path) -> None:
    """Control tokens that Whisper needs are named when they are missing."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] != "<|notimestamps|>"
    ]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "lacks <|notimestamps|>:" in refusal(folder)


def test_a_preprocessor_of_another_model_is_refused(folder: Path) -> None:
    """128 mel bands for a network of 80 would fail in the first segment."""
    path = folder / "preprocessor_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"feature_size": 128}
    path.write_text(json.dumps(config), encoding="utf-8")
    assert "wants 80 mel bands and its preprocessor_config.json makes 128" in refusal(folder)


def test_an_unknown_name_lists_the_known_ones() -> None:
    """A typo is answered with the names that exist."""
    with pytest.raises(ModelError, match=r"neither a folder here .* demo, .*large-v3-turbo"):
        open_recogniser("smal", device="cpu")


def test_cuda_without_a_device_is_refused(folder: Path) -> None:
    """Asking for a GPU that is not there names the two ways out."""
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ModelError, match="No CUDA device is visible here: use device cpu"):
        open_recogniser(str(folder), device="cuda")


@pytest.mark.parametrize(("shape", "positions"), [(DEMO, 128), (MULTILINGUAL, 448)])
def test_the_decoders_length_is_read_from_the_weights(
    shape: object, positions: int, tmp_path: Path
) -> None:
    """CTranslate2 does not tell how long a text may grow; the file does."""
    assert isinstance(shape, type(DEMO))
    assert decoder_positions(write_random_whisper(tmp_path / "model", shape)) == positions


@pytest.mark.slow
def test_an_unreachable_hub_is_one_sentence_with_the_ways_out(tmp_path: Path) -> None:
    """Without network `--asr small` names the path, the mirror variable and the bundled model."""
    code = (
        "import sys\n"
        "from pipeline.asr.model import open_recogniser\n"
        "from pipeline.errors import ModelError\n"
        "try:\n"
        "    open_recogniser('small', device='cpu', progress=sys.stderr)\n"
        "except ModelError as error:\n"
        "    print(error)\n"
    )
    # The hub's client reads its variables when it is imported: hence a process of its own.
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("Speech model small is not on this machine and cannot be")
    assert "Connection refused" in done.stdout
    for way_out in ("path of a CTranslate2 folder", "HF_ENDPOINT", "bundled model demo"):
        assert way_out in done.stdout
    assert "Traceback" not in done.stderr


def test_random_weights_do_not_pass_the_canary(folder: Path) -> None:
    """A model that does not understand the shipped clip is refused with what it said instead."""
    with pytest.raises(ModelError, match="does not understand the canary"):
        load_recogniser(str(folder), device="cpu", progress=None)


def test_a_deaf_model_does_not_pass_the_canary(tmp_path: Path) -> None:
    """Empty text where something is said is what some drivers do: the worker must not start."""
    path = write_random_whisper(tmp_path / "deaf", DEMO, favoured="<|endoftext|>")
    with pytest.raises(ModelError, match="it gave ''; try device cpu"):
        load_recogniser(str(path), device="cpu", progress=None)

"""Settings: environment, then file, then default; a wrong one is one sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import SettingError
from pipeline.settings import Settings, as_environment, load_settings, read_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file with one text, one number and one list."""
    path = tmp_path / "tingbo.toml"
    path.write_text(
        'clip_format = "opus"\nmax_batch = 4\nopen_timeout_s = 3\nallowed_media_dirs = ["/media"]\n'
    )
    return path


def test_defaults_need_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without environment and file everything lives in one folder below the user's data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    settings = read_settings({})
    assert settings.data_dir == Path("/data/tingbo")
    assert settings.redis_url is None
    assert settings.redis_dir == Path("/data/tingbo/redis")
    assert settings.effective_database_url == "sqlite:////data/tingbo/tingbo.sqlite3"
    assert settings.effective_clips_url == "/data/tingbo/clips"
    assert (settings.clip_format, settings.asr_model, settings.device) == ("flac", "demo", "auto")


def test_the_file_beats_the_default_and_the_environment_beats_the_file(file: Path) -> None:
    """The order is the same for every setting."""
    settings = read_settings({"TINGBO_MAX_BATCH": "32", "TINGBO_DEVICE": "cpu"}, file)
    assert (settings.clip_format, settings.max_batch, settings.device) == ("opus", 32, "cpu")
    assert settings.open_timeout_s == 3.0
    assert settings.allowed_media_dirs == (Path("/media"),)


def test_the_file_of_the_working_folder_is_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tingbo.toml` beside the operator counts without being named."""
    monkeypatch.chdir(file.parent)
    assert load_settings().clip_format == "opus"


def test_a_variable_names_the_file(file: Path) -> None:
    """Containers point to a mounted file."""
    assert read_settings({"TINGBO_CONFIG": str(file)}).max_batch == 4


def test_an_empty_variable_leaves_the_setting_alone() -> None:
    """Compose files set variables to nothing when the host does not have them."""
    assert read_settings({"TINGBO_REDIS_URL": "", "TINGBO_MAX_BATCH": ""}) == read_settings({})


def test_a_list_in_the_environment_is_joined_as_in_path() -> None:
    """One variable holds several folders."""
    settings = read_settings({"TINGBO_ALLOWED_MEDIA_DIRS": "/a:/b c"})
    assert settings.allowed_media_dirs == (Path("/a"), Path("/b c"))


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("TINGBO_MAX_BATCH", "many", "'many': give a whole number of segments from 1 to 256."),
        ("TINGBO_MAX_BATCH", "0", "'0': give a whole number of segments from 1 to 256."),
        ("TINGBO_CLIP_FORMAT", "mp3", '\'mp3\': give "flac" or "opus".'),
        ("TINGBO_DEVICE", "gpu", '\'gpu\': give "auto" or "cpu" or "cuda".'),
        ("TINGBO_OPEN_TIMEOUT_S", "nan", "'nan': give a number of seconds from 0.1 to 300."),
        ("TINGBO_METRICS_PORT", "70000", "'70000': give a whole number of a port from 0 to 65535."),
        ("TINGBO_ASR_MODEL", "  ", "'  ': give a text that is not empty."),
    ],
)
def test_a_wrong_value_is_named_with_what_fits(variable: str, value: str, expected: str) -> None:
    """The sentence names the key, the value and the expectation."""
    with pytest.raises(SettingError) as error:
        read_settings({variable: value})
    assert str(error.value) == f"Setting {variable} is {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("colour = 1", "Setting colour is unknown: remove it or use one of "),
        ("max_batch = true", "Setting max_batch is True: give a whole number"),
        ("max_batch = 1.5", "Setting max_batch is 1.5: give a whole number"),
        ("asr_model = 3", "Setting asr_model is 3: give a text"),
        ("allowed_media_dirs = 3", "Setting allowed_media_dirs is 3: give a list of folders"),
        ("max_batch = ", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    """A file is checked as strictly as the environment, unknown keys included."""
    path = tmp_path / "other.toml"
    path.write_text(text)
    with pytest.raises(SettingError) as error:
        read_settings({}, path)
    assert expected in str(error.value)


@pytest.mark.parametrize("name", ["absent.toml", ""])
def test_a_named_file_must_be_readable(tmp_path: Path, name: str) -> None:
    """A file the operator asked for is never passed over in silence, nor is a folder."""
    with pytest.raises(SettingError, match=r"does not exist|cannot be read"):
        read_settings({}, tmp_path / name)


def test_passwords_in_urls_show_neither_in_repr_nor_in_errors() -> None:
    """Settings end up in logs; secrets must not."""
    url = "redis://:hunter2@host/0"
    assert "hunter2" not in repr(read_settings({"TINGBO_REDIS_URL": url}))
    with pytest.raises(SettingError) as error:
        read_settings({"TINGBO_REDIS_URL": " "})
    assert "a value that is not shown" in str(error.value)


@pytest.mark.parametrize(
    ("text", "packs"),
    [('packs = ["absolute", "privacy"]', ("absolute", "privacy")), ("packs = []", ())],
)
def test_packs_are_a_list_in_a_file(tmp_path: Path, text: str, packs: tuple[str, ...]) -> None:
    """No pack is on by default."""
    assert Settings().packs == ()
    path = tmp_path / "other.toml"
    path.write_text(text)
    assert read_settings({}, path).packs == packs


def test_lists_survive_the_way_into_the_environment_of_a_role() -> None:
    """Names are joined by commas, folders as in PATH; a role reads what its starter had."""
    own = dataclasses.replace(
        Settings(), packs=("absolute", "privacy"), allowed_media_dirs=(Path("/a"), Path("/b"))
    )
    environment = as_environment(own)
    assert environment["TINGBO_PACKS"] == "absolute,privacy"
    assert read_settings(environment) == own
    assert read_settings({"TINGBO_PACKS": " absolute , privacy,"}).packs == own.packs


def test_every_setting_says_how_it_is_read() -> None:
    """A setting added without a kind would fail only when someone sets it."""
    assert [item.name for item in dataclasses.fields(Settings) if "kind" not in item.metadata] == []


def test_the_command_line_beats_everything_and_is_read_as_strictly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value that is given counts, None leaves the setting alone, a wrong one is named."""
    monkeypatch.setenv("TINGBO_DEVICE", "cuda")
    assert load_settings(device="cpu", asr_model=None).device == "cpu"
    assert load_settings(device=None, asr_model="small").device == "cuda"
    with pytest.raises(SettingError, match="Setting device is 'tpu'"):
        load_settings(device="tpu")

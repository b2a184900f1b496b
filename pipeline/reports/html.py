"""The self-check as one HTML file that works from disk, without any network.

Everything in it that came from a recording or its name is untrusted: the template escapes it, the
policy in the page's head lets nothing run or load but the page's own script, style and sound.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import jinja2
from markupsafe import Markup

from pipeline.errors import MissingError
from pipeline.records import CATEGORY_NAMES, SPEECH_ACT_NAMES, CoverageKind
from pipeline.reports.conclusion import conclusion
from pipeline.reports.page import LineRow, Page
from pipeline.reports.replay import Replay
from pipeline.reports.sound import MIME_TYPE, Sound
from pipeline.reports.wording import (
    COVERAGE,
    GLYPHS,
    SUSPICION_NOTICE,
    SYNTHETIC_NOTICE,
    TARGETS,
    VERDICTS,
    clock,
    length,
    visible,
)

_TEMPLATES = Path(__file__).resolve().parent / "templates"
#: A multiple of 3, so that the pieces of base64 join without padding.
_PIECE = 3 << 18


def write_replay_html(replay: Replay, sound: Sound | None, out: Path) -> None:
    """Write the page to `out`; `sound` None leaves player and waveform without a recording.

    A page of a longer recording than `sound` embeds asks for the local file instead. Memory does
    not grow with the sound. Raises MissingError when `out` cannot be written.
    """
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            _write(replay, sound, file)
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise MissingError(
            f"The report {out} cannot be written ({error.strerror}): choose another place."
        ) from error


def _write(replay: Replay, sound: Sound | None, file: IO[bytes]) -> None:
    page = Page(replay, sound)
    script, style = _asset("replay.js"), _asset("replay.css")
    _template().stream(
        page=page,
        replay=replay,
        sentences=conclusion(replay),
        policy=_policy(script, style),
        script=Markup(script),  # noqa: S704 -- ours, from the templates' folder
        style=Markup(style),  # noqa: S704 -- as above
        categories=CATEGORY_NAMES,
        verdicts=VERDICTS,
        kinds=[kind for kind in CoverageKind if page.sums[kind]],
        notices={"synthetic": SYNTHETIC_NOTICE, "suspicion": SUSPICION_NOTICE},
    ).dump(file, encoding="utf-8", errors="replace")
    # The sound comes last: the page can be read and used while a long one still loads.
    if sound is not None and sound.encoded is not None:
        file.write(f'<script type="text/plain" id="sound" data-type="{MIME_TYPE}">'.encode())
        file.writelines(_base64(sound.encoded))
        file.write(b"</script>\n")
    file.write(b"</body>\n</html>\n")


def _base64(path: Path) -> Iterator[bytes]:
    with path.open("rb") as sound:
        while piece := sound.read(_PIECE):
            yield base64.b64encode(piece)


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Content security policy: our script and style by their hashes, and sound; nothing else."""

    def source(text: str) -> str:
        digest = hashlib.sha256(text.encode("utf-8")).digest()
        return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

    return (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; "
        "media-src blob:; base-uri 'none'; form-action 'none'"
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": clock,
        "length_text": length,
        "visible": visible,
        "glyph": GLYPHS.__getitem__,
        "kind": COVERAGE.__getitem__,
        "act": lambda code: SPEECH_ACT_NAMES.get(code, code),
        "target": lambda code: TARGETS.get(code, code),
    }
    environment.tests["line"] = lambda row: isinstance(row, LineRow)
    return environment.get_template("replay.html")

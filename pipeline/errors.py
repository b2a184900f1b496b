"""Every error tingbo raises on purpose, and the exit code each one ends the process with.

A message is one sentence that names the thing, the reason and the remedy; the command line
prints it as it stands.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What `tingbo` tells the shell."""

    CLEAN = 0
    """Everything was read and nothing was found."""
    FINDINGS = 1
    """Everything was read and there are findings."""
    BAD_INPUT = 2
    """The input or the command's words are wrong, or part of the input could not be heard."""
    MISSING = 3
    """Something this machine needs is missing: a model, a binary, space, a permission."""
    UNREACHABLE = 4
    """A live source cannot be reached or stopped answering."""
    AGAIN = 5
    """`tingbo asr` gave its memory back on purpose: start it again."""


class TingboError(Exception):
    """Root of the errors whose message is meant for the user."""

    exit_code = ExitCode.BAD_INPUT


class BadInputError(TingboError):
    """Raised when a file, stream, line or setting cannot be used as it is."""


class MissingError(TingboError):
    """Raised when this machine lacks something: a binary, a model, disk space, a permission."""

    exit_code = ExitCode.MISSING


class SourceUnreachableError(TingboError):
    """Raised when a live source refuses, stays silent or breaks off."""

    exit_code = ExitCode.UNREACHABLE


class OfflineError(SourceUnreachableError):
    """Raised when a live source answers, and has no broadcast now."""


class StalledError(SourceUnreachableError):
    """Raised when a live source stays open and brings no more sound."""


class SettingError(BadInputError):
    """Raised when a setting has an unusable value; names the key, the value and what fits."""


class ModelError(MissingError):
    """Raised when a speech model cannot be found, loaded or does not pass its canary."""


class RulePackError(BadInputError):
    """Raised when a rule pack is refused; names the file, the line or rule, and the reason."""


class ClipStoreError(MissingError):
    """Raised when a clip cannot be written or read; names the place and the reason."""


class ClipStoreAwayError(ClipStoreError):
    """Raised when the place of all clips cannot be reached, and nothing is wrong with one clip."""


class BusError(MissingError):
    """Raised when the bus cannot be started or reached."""


class StoreError(MissingError):
    """Raised when the database cannot be opened, or is of another schema version."""


class RefusedRowError(StoreError):
    """Raised when a row breaks a rule of the schema: trying again would fail again."""

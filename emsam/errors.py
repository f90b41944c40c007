"""What a user of EM-SAM can run into, in one line each; anything else is a bug."""

from __future__ import annotations


class InputError(ValueError):
    """Input that EM-SAM refuses.

    The message is one line that names the file, the value and the remedy; the command line
    prints it as it is and exits with status 2. Code that raises it has written nothing.
    """


class DamagedInput(InputError):
    """Input that can be opened but not decoded everywhere; other parts of it may be whole."""


class TrainingStopped(Exception):
    """The trainer was asked to stop; the same call goes on from its checkpoint."""


class TrainingFailed(Exception):
    """The trainer ended with an error, which its log tells."""


class DiskFull(Exception):
    """A disk has no space left; what was begun on it is removed."""


class WorkersDied(Exception):
    """Processes that shared some work died again and again; what they finished is kept."""


class VersioningFailed(Exception):
    """git or DVC refused; the message quotes it."""


class StackFailed(Exception):
    """A service of the local stack did not start or gives no answer; the message names its log."""


class NotPromoted(InputError):
    """A decision to promote that waits for a person, or may not be carried out any more."""


class LedgerFailed(Exception):
    """The ledger's database gives no answer or refuses; the message quotes it."""


def one_line(error: BaseException) -> str:
    """The beginning of an error's message without line breaks."""
    return " ".join(str(error).split())[:120] or type(error).__name__

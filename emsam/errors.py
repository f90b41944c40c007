"""What a user of EM-SAM can run into, in one line each; anything else is a bug."""

from __future__ import annotations

import re


class InputError(ValueError):
    """Input that EM-SAM refuses.

    The message is one line that names the file, the value and the remedy; the command line
    prints it as it is and exits with status 2. Code that raises it has written nothing.
    What a file put into it can neither move a terminal's cursor nor fill the screen.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(harmless(message))


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


_LONGEST = 1000
_END = 300
"""Characters of a message, and of its end, which has the remedy, where it is longer."""


_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):[^\s/]*@")


def without_passwords(text: str) -> str:
    """``text`` with stars for the password in each address such as ``https://ada:secret@lab``."""
    return _PASSWORD.sub(r"\1:***@", text)


def harmless(message: str) -> str:
    """``message`` as one line for a terminal or a log, whatever a file put into it.

    Passwords in addresses and control characters are masked, and the middle is left out if it is
    very long.
    """
    line = without_passwords(message.replace("\n", " "))
    if not line.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - _END]} … {line[-_END:]}"
    return line


def one_line(error: BaseException) -> str:
    """The beginning of an error's message without line breaks."""
    return " ".join(str(error).split())[:120] or type(error).__name__

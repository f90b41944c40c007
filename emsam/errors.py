"""The one exception that a user causes and a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Input that EM-SAM refuses.

    The message is one line that names the file, the value and the remedy; the command line
    prints it as it is and exits with status 2. Code that raises it has written nothing.
    """

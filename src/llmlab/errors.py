"""The ways a run can fail, one class per exit code.

Covers every failure that is not a bug: each message names the option or file, says what was expected and
the way out, and ``llmlab`` prints it as one line.
"""


class LlmlabError(Exception):
    """A failure with a message for people and an exit code for scripts."""

    exit_code = 1


class SettingError(LlmlabError):
    """An option is out of range or does not go with another one."""

    exit_code = 2


class TextError(LlmlabError):
    """The input text or file cannot be used."""

    exit_code = 3


class CheckpointError(LlmlabError):
    """There is no checkpoint that could be used, or it belongs to another run."""

    exit_code = 4


class UnreachableError(LlmlabError):
    """Data, a model or a tool is not here and could not be fetched."""

    exit_code = 5


class WriteError(LlmlabError):
    """Something could not be written to disk."""

    exit_code = 7


class Stopped(BaseException):
    """A signal ended the run; the exit code is 128 plus the signal's number, as shells expect.

    Not an ``Exception``: it may arrive while a library is being imported, and no ``except Exception`` there may
    swallow it.

    ``kept`` is set by what has saved something to go on from.
    """

    kept = False

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

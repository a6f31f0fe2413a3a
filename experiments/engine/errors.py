"""Mistakes a user can mend; the command line prints their text and exits with their code."""

SAVED = 75
"""Exit code of a process that was stopped, saved, and is to be run again (EX_TEMPFAIL)."""


class AblaxError(Exception):
    """Something the user is told in one message; `code` is the process's exit code."""

    code = 1


class UsageError(AblaxError):
    """A wrong name, value or folder (exit code 2)."""

    code = 2


class DataMissingError(AblaxError):
    """A data set is missing or damaged (exit code 3)."""

    code = 3

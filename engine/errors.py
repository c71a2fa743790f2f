"""Errors a user can mend."""


class UsageError(ValueError):
    """The command line asks for something impossible; one line with the value and the next step."""

"""Errors a user can mend."""


class OutputError(OSError):
    """A recording or stream cannot be written; the message is one line with the value and the next step."""

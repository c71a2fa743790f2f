"""Errors a user can mend."""


class SourceError(OSError):
    """A camera, video or folder cannot be read; the message is one line with the value and the next step."""

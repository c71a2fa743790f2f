"""Errors a user can mend."""


class TrackingError(ValueError):
    """Tracking cannot start or its input is wrong; the message is one line with value and next step."""

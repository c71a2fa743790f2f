"""Errors a user can mend."""


class UsageError(ValueError):
    """The command line asks for something impossible; one line with the value and the next step."""


class TrainingError(RuntimeError):
    """Training cannot go on, by its data or its settings; one line with the reason and the next step."""

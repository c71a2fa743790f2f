"""Errors a user can mend."""


class AvatarError(ValueError):
    """An avatar, rig or Gaussian file is wrong; the message is one line with the value and the next step."""

"""Errors a user can mend."""


class RendererError(RuntimeError):
    """What is installed cannot draw; the message is one line with the value and the next step."""


class AvatarError(ValueError):
    """An avatar, rig or Gaussian file is wrong; the message is one line with the value and the next step."""


class SignatureError(AvatarError):
    """An avatar file is not what was signed."""

"""What the page's buttons do to the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from engine.live.scene import Cast, Scene
from engine.live.stage import Stage
from engine.live.statistics import LiveStatistics
from render.avatars.avatar import Avatar
from render.avatars.library import builtin_names, open_avatar
from render.errors import AvatarError
from tracking.errors import TrackingError
from transport.http.controls import AvatarChoice, Background, ControlError, LiveState, SourceKind

PICTURE_PX = 256  # shown at half of it: screens have two pixels to one
PICTURE_BACKGROUND = (0.85, 0.86, 0.89)


class LiveControls:
    """Implements `transport.http.controls.Controls` for a running loop."""

    def __init__(
        self,
        scene: Scene,
        stage: Stage,
        statistics: LiveStatistics,
        *,
        source: SourceKind,
        size: tuple[int, int],
        fps: Callable[[], float],
        trouble: Callable[[], str | None],
        note: Callable[[], str] = str,
        make_cast: Callable[[str], Cast],
        extra_figures: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`trouble` says why no frames come, `note` what else there is to tell. `make_cast` opens an
        avatar; it may take a while."""
        self._scene = scene
        self._stage = stage
        self._statistics = statistics
        self._source: SourceKind = source
        self._size = size
        self._fps = fps
        self._trouble = trouble
        self._note = note
        self._make_cast = make_cast
        self._extra_figures = extra_figures
        self._has_neutral = False
        self._pictures: dict[str, bytes] = {}
        first = scene.cast
        self._choices = {name: _choice(name, None) for name in builtin_names()}
        self._first = first
        self._choices[first.choice] = _choice(first.choice, first.avatar)

    def state(self) -> LiveState:
        trouble = self._trouble()
        return LiveState(
            avatar=self._scene.cast.choice,
            source=self._source,
            width=self._size[0],
            height=self._size[1],
            fps=self._fps(),
            mirror=self._scene.view.mirror,
            source_ok=trouble is None,
            message=trouble or self._remark(),
            has_neutral=self._has_neutral,
            about=_about(self._scene.cast.avatar),
        )

    def _remark(self) -> str:
        if self._source != "motion" and self._stage.driven and not self._stage.face_found:
            return "no face is seen"
        if note := self._note():
            return note
        scale = self._stage.deadline.effort.scale
        if scale < 1:
            return f"this machine is busy: drawn at {scale:.0%} of the size"
        return ""

    def avatars(self) -> Sequence[AvatarChoice]:
        return list(self._choices.values())

    def avatar_picture(self, name: str) -> bytes | None:
        if name not in self._choices:
            return None
        if name not in self._pictures:
            try:
                avatar = self._first.avatar if name == self._first.choice else open_avatar(name)
            except AvatarError:
                return None
            self._pictures[name] = portrait(avatar)
        return self._pictures[name]

    def choose_avatar(self, name: str) -> None:
        if name not in self._choices:
            known = ", ".join(choice.title for choice in self._choices.values())
            raise ControlError(f"there is no avatar of this name; choose one of {known}")
        if name == self._scene.cast.choice:
            return
        try:
            cast = self._make_cast(name)
        except (AvatarError, TrackingError) as error:
            raise ControlError(str(error)) from error
        self._scene.change_cast(cast)
        self._has_neutral = False

    def remeasure_neutral(self) -> None:
        if self._scene.cast.driver is None:
            raise ControlError("the built-in motion has no face to measure")
        if not (self._stage.driven and self._stage.face_found):
            raise ControlError("no face is seen; look into the camera and try again")
        self._scene.wish_neutral()
        self._has_neutral = True

    def set_mirror(self, mirror: bool) -> None:
        self._scene.change_view(mirror=mirror)

    def set_background(self, background: Background) -> None:
        red, green, blue = background.rgb
        colour = (red / 255, green / 255, blue / 255)
        picture = background.picture
        self._scene.change_view(background=colour if picture is None else picture)

    def orbit(self, yaw_deg: float, pitch_deg: float, zoom: float) -> None:
        # straight from above the camera would not know where up is
        pitch_deg = min(85.0, max(-85.0, pitch_deg))
        self._scene.change_view(yaw_deg=yaw_deg, pitch_deg=pitch_deg, zoom=zoom)

    def figures(self) -> Mapping[str, float]:
        deadline = self._stage.deadline
        return {
            **self._statistics.figures(),
            **self._extra_figures(),
            "tracker_restarts": float(self._statistics.total("tracker_restart")),
            "render_scale": deadline.effort.scale,
            "gaussian_share": deadline.effort.share,
            "detect_every": float(deadline.detect_every),
            "render_scale_falls": float(deadline.num_falls),
            "render_scale_rises": float(deadline.num_rises),
        }


def portrait(avatar: Avatar) -> bytes:
    """A JPEG of the avatar at rest, for the chooser."""
    import torch

    from engine.contact_sheet import jpeg_bytes
    from render.cpu.renderer import CpuRenderer

    renderer = CpuRenderer(PICTURE_PX, PICTURE_PX, num_threads=1)  # beside the stream: leave it a core
    try:
        with torch.inference_mode():
            gaussians = avatar.pose(avatar.rig.neutral_params())
            camera = avatar.default_camera(PICTURE_PX, PICTURE_PX)
            return jpeg_bytes(renderer.render_rgb8(gaussians, camera, PICTURE_BACKGROUND))
    finally:
        renderer.close()


def _choice(name: str, avatar: Avatar | None) -> AvatarChoice:
    """A built-in name is its own title, and opening it just for its licence would take too long."""
    if avatar is None or name in builtin_names():
        return AvatarChoice(name, name.capitalize(), "CC0-1.0")
    return AvatarChoice(name, avatar.name, avatar.info.licence)


def _about(avatar: Avatar) -> str:
    """What a viewer may want to know of who is shown."""
    consent = avatar.info.consent or "nobody said whose likeness this is"
    licence = f"licence {avatar.info.licence}" if avatar.info.licence else "no licence stated"
    signed = "not signed" if avatar.signature is None else avatar.signature.told()
    return f"{avatar.name}: {consent}; {licence}; {signed}"

"""One encode for everybody: who gets what, what is dropped, when nothing is encoded at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from transport.webrtc.broadcast import KEY_INTERVAL_S, VIEWER_QUEUE, Broadcast, Viewer
from transport.webrtc.encoders import EncodedPicture

SIZE = 64
FRAME_NS = 33_333_333
START_NS = 1_795_000_000_000_000_000


def picture(index: int = 0) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), (index * 5) % 256, np.uint8)


class SteppedBroadcast:
    """A broadcast with a clock that only moves when told, and one picture at a time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.broadcast = Broadcast(fps=30, clock=lambda: self.now)
        self.index = 0

    async def __aenter__(self) -> SteppedBroadcast:
        self.broadcast.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.broadcast.close)

    async def join(self, codec: str = "h264", **options: bool) -> Viewer:
        """A viewer that has taken its first picture: the newest one, as a key frame."""
        self.now += 1  # key frames come no closer together than KEY_INTERVAL_S
        viewer = self.broadcast.add_viewer(codec, **options)  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(viewer.next_picture())
        await asyncio.sleep(0)
        if self.index == 0:
            await self.show()
        packed = await asyncio.wait_for(waiting, 5)
        assert packed.picture.is_key
        return viewer

    async def show(self) -> None:
        """Put a picture and wait until it was encoded and handed out."""
        encoded = len(self.broadcast._encode_ms)
        rungs = max(1, len(self.broadcast._rungs))
        self.broadcast.put(picture(self.index), START_NS + self.index * FRAME_NS)
        self.index += 1
        await until(lambda: len(self.broadcast._encode_ms) >= encoded + rungs)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def test_nothing_is_encoded_while_nobody_watches() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            for index in range(5):
                stepped.broadcast.put(picture(index), START_NS + index)
            await asyncio.sleep(0.05)
            assert not stepped.broadcast.watched
            assert len(stepped.broadcast._encode_ms) == 0
            viewer = stepped.broadcast.add_viewer("h264")
            assert not stepped.broadcast.watched  # it has not connected yet
            packed = await asyncio.wait_for(viewer.next_picture(), 5)  # the last picture, at once
            assert packed.picture.is_key
            assert packed.picture.capture_ns == START_NS + 4
            stepped.broadcast.remove_viewer(viewer)
            assert not stepped.broadcast.watched

    asyncio.run(run())


def test_one_encode_serves_twenty_viewers() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            viewers = [await stepped.join() for _ in range(20)]
            for viewer in viewers:
                viewer._queue.clear()  # the key frames made for those who joined later
            before = len(stepped.broadcast._encode_ms)
            await stepped.show()
            assert len(stepped.broadcast._encode_ms) == before + 1
            packed = [await asyncio.wait_for(viewer.next_picture(), 5) for viewer in viewers]
            assert len({id(entry) for entry in packed}) == 1

    asyncio.run(run())


def test_a_viewer_that_does_not_read_loses_pictures_and_the_others_none() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            stuck, fine = await stepped.join(), await stepped.join()
            stepped.now += 10
            got = []
            for _ in range(3 * VIEWER_QUEUE):
                await stepped.show()
                got.append((await asyncio.wait_for(fine.next_picture(), 5)).picture.capture_ns)
                stepped.now += 0.033
            assert got == [
                START_NS + index * FRAME_NS for index in range(stepped.index - len(got), stepped.index)
            ]
            assert fine.num_dropped == 0
            assert len(stuck._queue) <= VIEWER_QUEUE
            assert stuck.num_dropped > VIEWER_QUEUE
            # reading again, it goes on with a key frame and without a gap behind it
            first = await asyncio.wait_for(stuck.next_picture(), 5)
            assert first.picture.is_key

    asyncio.run(run())


def test_key_frame_wishes_are_granted_but_not_all_of_them() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            viewer = await stepped.join()
            keys = []
            stepped.now += 10
            for _ in range(60):
                viewer.request_key_frame()
                await stepped.show()
                keys.append((await asyncio.wait_for(viewer.next_picture(), 5)).picture.is_key)
                stepped.now += 1 / 30
            # 2 s of constant wishes; every wish is late by at most KEY_INTERVAL_S
            assert keys[0]
            assert 2 / KEY_INTERVAL_S - 1 <= sum(keys) <= 2 / KEY_INTERVAL_S + 1

    asyncio.run(run())


def test_a_slow_link_moves_to_an_encode_of_its_own() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            fast, slow = await stepped.join(unlimited=True), await stepped.join(unlimited=True)
            slow.rate.unlimited = False
            stepped.now += 10
            slow.target_bitrate = 300_000
            assert {(rung.level, rung.bitrate) for rung in stepped.broadcast._rungs} == {
                ("full", stepped.broadcast._limits.highest),
                ("low", 255_000),
            }
            await stepped.show()
            one = await asyncio.wait_for(fast.next_picture(), 5)
            other = await asyncio.wait_for(slow.next_picture(), 5)
            assert one is not other
            assert other.picture.is_key
            slow.target_bitrate = 5_000_000
            assert [rung.level for rung in stepped.broadcast._rungs] == ["full"]
            await stepped.show()
            assert (await asyncio.wait_for(slow.next_picture(), 5)).picture.is_key

    asyncio.run(run())


def test_codecs_have_encodes_of_their_own() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            h264, vp8 = await stepped.join("h264"), await stepped.join("vp8")
            await stepped.show()
            assert (await asyncio.wait_for(h264.next_picture(), 5)).picture.codec == "h264"
            assert (await asyncio.wait_for(vp8.next_picture(), 5)).picture.codec == "vp8"
            stepped.broadcast.remove_viewer(h264)
            assert [rung.codec for rung in stepped.broadcast._rungs] == ["vp8"]

    asyncio.run(run())


def test_time_follows_the_capture_clock_and_survives_its_jumps() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            viewer = await stepped.join()
            times = [0, 1, 2, 2, 1_000_000, 1_000_001, 0]  # in frames; a repeat, a leap and a step back
            ticks = []
            base = START_NS + 10 * FRAME_NS
            for time_ in times:
                stepped.broadcast.put(picture(time_), base + time_ * FRAME_NS)
                ticks.append((await asyncio.wait_for(viewer.next_picture(), 5)).picture.ticks)
            steps = np.diff(ticks)
            assert steps[:2] == pytest.approx([3000, 3000], abs=1)  # ticks are whole
            assert steps[2] == 1
            assert steps[3:] == pytest.approx([3000, 3000, 3000], abs=2)

    asyncio.run(run())


def test_the_size_may_change() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            viewer = await stepped.join()
            stepped.broadcast.put(np.zeros((96, 128, 3), np.uint8), START_NS + 10**9)
            packed = await asyncio.wait_for(viewer.next_picture(), 5)
            assert (packed.picture.width, packed.picture.height) == (128, 96)
            assert packed.picture.is_key

    asyncio.run(run())


def test_a_recording_gets_the_full_encode_whatever_the_viewers_link() -> None:
    class Tape:
        def __init__(self) -> None:
            self.pictures: list[EncodedPicture] = []

        def write(self, picture: EncodedPicture) -> None:
            self.pictures.append(picture)

    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            viewer = await stepped.join()
            viewer.target_bitrate = 200_000
            tape = Tape()
            stepped.now += 10
            stepped.broadcast.add_tap(tape)
            await until(lambda: bool(tape.pictures))
            assert tape.pictures[0].is_key
            full = next(rung for rung in stepped.broadcast._rungs if rung.level == "full")
            assert full.bitrate == stepped.broadcast._limits.highest
            assert viewer.rate.level == "low"
            stepped.broadcast.remove_viewer(viewer)
            count = len(tape.pictures)
            await stepped.show()
            assert len(tape.pictures) == count + 1
            stepped.broadcast.remove_tap(tape)
            assert not stepped.broadcast.watched

    asyncio.run(run())


def test_a_removed_viewer_ends() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            viewer = await stepped.join()
            waiting = asyncio.ensure_future(viewer.next_picture())
            await asyncio.sleep(0)
            stepped.broadcast.remove_viewer(viewer)
            with pytest.raises(MediaStreamError):
                await waiting

    asyncio.run(run())


def test_an_encoder_error_is_raised_at_the_next_put() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            await stepped.join()
            stepped.broadcast.put(np.zeros((7, 9), np.uint8), START_NS)
            await until(lambda: stepped.broadcast._error is not None)
            with pytest.raises(ValueError, match="I420"):
                stepped.broadcast.put(picture(), START_NS)

    asyncio.run(run())


def test_closing_leaves_no_thread() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            await stepped.join()

    before = threading.active_count()
    asyncio.run(run())
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "encoder" not in {thread.name for thread in threading.enumerate()}


def test_figures_tell_what_happens() -> None:
    async def run() -> None:
        async with SteppedBroadcast() as stepped:
            viewer = await stepped.join()
            for _ in range(4):
                await stepped.show()
                await asyncio.wait_for(viewer.next_picture(), 5)
                stepped.now += 0.25
            figures = stepped.broadcast.figures()
            assert figures["viewers"] == 1
            assert figures["key_frames"] >= 1
            assert figures["fps"] == 2.5  # five pictures within the last two seconds
            assert 0 < figures["encode_p50_ms"] <= figures["encode_p99_ms"]

    asyncio.run(run())

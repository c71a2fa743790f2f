"""A link of a known quality between this machine and a viewer in a network namespace of its own.

Two TUN devices, one on each side, and a process between them that loses, delays and limits packets. Needs
Linux, root and `ip`; `why_not` says what is missing.
"""

from __future__ import annotations

import argparse
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from capture.closing import Closing

TUN = Path("/dev/net/tun")
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 1500
NETWORK = "198.18.{}"  # RFC 2544: addresses for measurements, of nobody


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """What the link does to packets, the same in both directions."""

    loss: float = 0.0  # share lost, at random
    bits_per_second: float = 0.0  # 0: no limit
    queue_ms: float = 200.0  # what the slow side holds back before it drops
    delay_ms: float = 0.0


def why_not() -> str | None:
    """Why this machine cannot make such a link, in one line; None when it can."""
    if sys.platform != "linux" or not TUN.exists():
        return "shaped links need Linux with /dev/net/tun"
    if os.geteuid() != 0:
        return "shaped links need root: run it with sudo"
    if shutil.which("ip") is None:
        return "shaped links need the program ip: apt install iproute2"
    return None


class Link(Closing):
    """`with Link(LinkQuality(loss=0.05)) as link`: processes started behind `link.inside` use it."""

    def __init__(self, quality: LinkQuality) -> None:
        self._quality = quality
        number = os.getpid() % 250
        self._namespace = f"visavis{os.getpid()}"
        self._devices = (f"vv{os.getpid()}a", f"vv{os.getpid()}b")
        network = NETWORK.format(number)
        self.near, self._far = f"{network}.1", f"{network}.2"
        self._pump: subprocess.Popen[str] | None = None

    @property
    def inside(self) -> list[str]:
        """What goes before a command that shall run on the far side."""
        return ["ip", "netns", "exec", self._namespace]

    def change(self, quality: LinkQuality) -> None:
        """Make it better or worse while it is in use."""
        assert self._pump is not None
        assert self._pump.stdin is not None
        self._pump.stdin.write(json.dumps(asdict(quality)) + "\n")
        self._pump.stdin.flush()

    def __enter__(self) -> Link:
        ends: list[int] = []
        try:
            _ip("netns", "add", self._namespace)
            ends = [_open_tun(name) for name in self._devices]
            near, far = self._devices
            _ip("link", "set", far, "netns", self._namespace)
            _ip("addr", "add", f"{self.near}/24", "dev", near)
            _ip("link", "set", near, "mtu", str(MTU), "up")
            for command in (
                ("link", "set", "lo", "up"),
                ("addr", "add", f"{self._far}/24", "dev", far),
                ("link", "set", far, "mtu", str(MTU), "up"),
                ("route", "add", "default", "via", self.near),
            ):
                _ip("-n", self._namespace, *command)
            self._pump = subprocess.Popen(
                [sys.executable, "-m", "bench.viewing.link", *map(str, ends)],
                stdin=subprocess.PIPE,
                text=True,
                pass_fds=ends,
            )
            self.change(self._quality)
        except BaseException:
            self.close()
            raise
        finally:
            for end in ends:
                os.close(end)
        return self

    def close(self) -> None:
        """Take the link away; closing twice does no harm."""
        if self._pump is not None:
            self._pump.terminate()
            self._pump.communicate()
            self._pump = None
        subprocess.run(["ip", "netns", "del", self._namespace], check=False, capture_output=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _open_tun(name: str) -> int:
    end = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return end


class _Direction:
    """Packets on their way from one end to the other, in order."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.free_s = 0.0  # when the slow side will have sent what it holds
        self.last_s = 0.0

    def due_s(self, size: int, quality: LinkQuality, now_s: float) -> float | None:
        """When a packet arrives; None when it is lost."""
        if random.random() < quality.loss:
            return None
        due_s = now_s
        if quality.bits_per_second:
            if self.free_s - now_s > quality.queue_ms / 1e3:
                return None
            due_s = self.free_s = max(self.free_s, now_s) + 8 * size / quality.bits_per_second
        self.last_s = max(self.last_s, due_s + quality.delay_ms / 1e3)
        return self.last_s


def pump(ends: list[int]) -> None:
    """Carry packets between two TUN devices; every line on stdin is a new quality. Ends with stdin."""
    quality = LinkQuality()
    directions = {ends[0]: _Direction(ends[1]), ends[1]: _Direction(ends[0])}
    under_way: list[tuple[float, int, int, bytes]] = []
    numbers = itertools.count()
    poll = select.poll()
    for readable in (0, *ends):
        poll.register(readable, select.POLLIN)
    while True:
        wait_ms = max(0.0, (under_way[0][0] - time.monotonic()) * 1e3) if under_way else None
        for readable, _ in poll.poll(wait_ms):
            if readable == 0:
                lines = os.read(0, 1 << 16).splitlines()  # whole ones: they are short
                if not lines:
                    return
                quality = LinkQuality(**json.loads(lines[-1]))
                continue
            for packet in _packets(readable):
                due_s = directions[readable].due_s(len(packet), quality, time.monotonic())
                if due_s is not None:
                    entry = (due_s, next(numbers), directions[readable].target, packet)
                    heapq.heappush(under_way, entry)
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(under_way)
            try:
                os.write(target, packet)
            except OSError:
                continue  # the other side is not up yet, or full: lost, as on any link


def _packets(end: int) -> list[bytes]:
    packets: list[bytes] = []
    while len(packets) < 64:
        try:
            packets.append(os.read(end, 2048))
        except BlockingIOError:
            break
    return packets


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Carry packets between two open TUN devices.")
    parser.add_argument("ends", type=int, nargs=2, metavar="FD")
    pump(parser.parse_args().ends)

"""A WHEP client of another origin, written from the draft alone, in a real Chromium."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.viewing.chromium import Chromium, find_chromium
from bench.viewing.live_client import ClientOrigin
from tests.transport.synthetic_live import SyntheticLive
from transport.http.server import ServerSettings

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt install chromium")

# draft-ietf-wish-whep: POST the offer, resolve Location against the request, PATCH candidates, DELETE.
CLIENT = """
async (endpoint, trickle) => {
  const connection = new RTCPeerConnection();
  connection.addTransceiver('video', {direction: 'recvonly'});
  connection.addTransceiver('audio', {direction: 'recvonly'});
  const video = document.createElement('video');
  video.muted = true;
  connection.ontrack = ({track}) => {
    if (track.kind === 'video') video.srcObject = new MediaStream([track]);
  };
  const candidates = [];
  const gathered = new Promise(resolve => {
    connection.onicecandidate = ({candidate}) => {
      if (candidate) candidates.push(candidate);
      else resolve();
    };
  });
  await connection.setLocalDescription();
  const early = connection.localDescription.sdp;
  await gathered;
  const body = trickle ? early : connection.localDescription.sdp;
  const answer = await fetch(endpoint, {method: 'POST', headers: {'Content-Type': 'application/sdp'}, body});
  const resource = new URL(answer.headers.get('Location'), answer.url);
  await connection.setRemoteDescription({type: 'answer', sdp: await answer.text()});
  const patched = [];
  if (trickle) {
    const own = candidates.filter(one => one.sdpMid === '0');
    const lines = [`a=ice-ufrag:${own[0].usernameFragment}`, 'm=video 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0',
      ...own.map(one => 'a=' + one.candidate), 'a=end-of-candidates', ''];
    patched.push((await fetch(resource, {method: 'PATCH', body: lines.join('\\r\\n'), headers: {
      'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': answer.headers.get('ETag')}})).status);
  }
  await video.play();
  const canvas = document.createElement('canvas');
  canvas.width = 384; canvas.height = 8;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const codes = [];
  while (codes.length < 10) {
    await new Promise(resolve => video.requestVideoFrameCallback(resolve));
    context.drawImage(video, 0, 0, 384, 8, 0, 0, 384, 8);
    const {data} = context.getImageData(0, 0, 384, 8);
    let code = 0;
    for (let cell = 0; cell < 48; cell++)
      code = 2 * code + (data[4 * (4 * 384 + 8 * cell + 4)] > 127 ? 1 : 0);
    codes.push([code, Date.now()]);
  }
  connection.close();
  const ended = await fetch(resource, {method: 'DELETE'});
  const again = await fetch(resource, {method: 'DELETE'});
  return {status: answer.status, patched, codes, ended: [ended.status, again.status]};
}
"""


@pytest.mark.parametrize("trickle", [True, False])
def test_a_page_of_an_allowed_origin_watches(trickle: bool) -> None:
    async def watch(origin: str, endpoint: str) -> dict[str, Any]:
        async with Chromium(["--allow-loopback-in-peer-connection"]) as browser:
            await browser.goto(origin)
            script = f"({CLIENT})({endpoint!r}, {str(trickle).lower()})"
            seen: dict[str, Any] = await browser.evaluate(script)
            return seen

    with ClientOrigin() as client:
        settings = ServerSettings(port=0, allow_origins=(client.origin,))
        with SyntheticLive(settings, width=512, height=256) as running:
            seen = asyncio.run(watch(client.origin, running.url + "/whep"))
            assert running.figures()["sessions"] == 0
    assert seen["status"] == 201
    assert seen["patched"] == ([204] if trickle else [])
    assert seen["ended"] == [200, 404]
    codes = [code for code, _ in seen["codes"]]
    assert codes == sorted(set(codes))
    assert all(0 <= shown - code < 5000 for code, shown in seen["codes"])  # one machine, one clock


def test_a_page_of_an_unknown_origin_cannot_even_ask() -> None:
    async def watch(origin: str, endpoint: str) -> str:
        async with Chromium() as browser:
            await browser.goto(origin)
            wish = "{method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: ''}"
            ask = f"fetch({endpoint!r}, {wish}).then(answer => 'read it', error => error.name)"
            return str(await browser.evaluate(ask))

    with ClientOrigin() as client, SyntheticLive(ServerSettings(port=0), width=384, height=64) as running:
        assert asyncio.run(watch(client.origin, running.url + "/whep")) == "TypeError"
        assert running.figures()["sessions"] == 0

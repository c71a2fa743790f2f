// WHEP to watch and WHIP to send, as any other client would do it.

import {ServerError, authorization, request} from './api.js';

const CONNECT_TIMEOUT_MS = 12000;
const FRAGMENT = 'application/trickle-ice-sdpfrag';

class Session {
  // onEnd(message) is called once when a connection that stood breaks; never after close().
  constructor(endpoint, onEnd) {
    this.endpoint = endpoint;
    this.onEnd = onEnd;
    this.connection = new RTCPeerConnection({iceServers: []});
    this.resource = null;
    this.etag = null;
    this.pending = [];
    this.closed = false;
    this.connection.onicecandidate = event => this.#trickle(event.candidate);
  }

  get id() {
    return this.resource ? this.resource.split('/').pop() : '';
  }

  // iceServers: addresses that the server names; none unless it stands behind a NAT.
  async open(iceServers = []) {
    if (iceServers.length) this.connection.setConfiguration({iceServers: [{urls: iceServers}]});
    await this.connection.setLocalDescription(await this.connection.createOffer());
    const response = await request(this.endpoint, {
      method: 'POST',
      headers: {'Content-Type': 'application/sdp'},
      body: this.connection.localDescription.sdp,
    });
    this.resource = response.headers.get('Location');
    this.etag = response.headers.get('ETag');
    const answer = await response.text();
    if (this.closed) return this.#forget();
    await this.connection.setRemoteDescription({type: 'answer', sdp: answer});
    for (const candidate of this.pending.splice(0)) this.#trickle(candidate);
    await this.#connected();
    this.connection.onconnectionstatechange = () => {
      const state = this.connection.connectionState;
      if (state === 'failed' || state === 'closed') this.#end('The connection to the server broke.');
    };
  }

  #connected() {
    return new Promise((resolve, reject) => {
      const failed = () => reject(new ServerError(-1,
        'No way for the video was found. A firewall or VPN may block UDP between this device and the server.'));
      const timer = setTimeout(failed, CONNECT_TIMEOUT_MS);
      const check = () => {
        const state = this.connection.connectionState;
        if (state === 'connected' || state === 'failed' || state === 'closed') clearTimeout(timer);
        if (state === 'connected') resolve();
        if (state === 'failed' || state === 'closed') failed();
      };
      this.connection.onconnectionstatechange = check;
      check();
    });
  }

  #trickle(candidate) {
    if (this.closed || !candidate || !candidate.candidate) return;
    if (!this.resource) {
      this.pending.push(candidate);
      return;
    }
    const body = [
      `a=ice-ufrag:${candidate.usernameFragment}`, 'm=video 9 UDP/TLS/RTP/SAVPF 0', `a=mid:${candidate.sdpMid}`,
      `a=${candidate.candidate}`, ''].join('\r\n');
    // candidates only help: the server finds most paths by itself
    request(this.resource, {
      method: 'PATCH', headers: {'Content-Type': FRAGMENT, 'If-Match': this.etag}, body}).catch(() => {});
  }

  #end(message) {
    if (this.closed) return;
    this.close();
    this.onEnd(message);
  }

  #forget() {
    if (!this.resource) return;
    fetch(this.resource, {method: 'DELETE', headers: authorization(), keepalive: true}).catch(() => {});
    this.resource = null;
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.connection.close();
    this.#forget();
  }
}

export class Watching extends Session {
  constructor(video, onEnd) {
    super('/whep', onEnd);
    this.connection.addTransceiver('video', {direction: 'recvonly'});
    this.connection.ontrack = event => {
      video.srcObject = new MediaStream([event.track]);
    };
  }

  // Figures of the last second as this browser sees them.
  async figures() {
    const found = {};
    (await this.connection.getStats()).forEach(report => {
      if (report.type === 'inbound-rtp' && report.kind === 'video') found.video = report;
      if (report.type === 'candidate-pair' && report.nominated) found.pair = report;
      if (report.type === 'codec') found.codec = report.mimeType.split('/')[1];
    });
    const now = found.video, before = this.before;
    this.before = now;
    if (!now || !before || now.timestamp <= before.timestamp) return null;
    const seconds = (now.timestamp - before.timestamp) / 1000;
    const grown = name => (now[name] ?? 0) - (before[name] ?? 0);
    const emitted = Math.max(1, grown('jitterBufferEmittedCount'));
    const packets = grown('packetsReceived') + grown('packetsLost');
    return {
      fps: grown('framesDecoded') / seconds,
      bitsPerSecond: 8 * grown('bytesReceived') / seconds,
      loss: packets > 0 ? Math.max(0, grown('packetsLost')) / packets : 0,
      dropped: grown('framesDropped'),
      bufferMs: 1000 * grown('jitterBufferDelay') / emitted,
      decodeMs: 1000 * grown('totalDecodeTime') / Math.max(1, grown('framesDecoded')),
      roundTripMs: found.pair?.currentRoundTripTime !== undefined ? 1000 * found.pair.currentRoundTripTime : null,
      width: now.frameWidth, height: now.frameHeight, codec: found.codec,
    };
  }
}

export class Sending extends Session {
  constructor(stream, onEnd) {
    super('/whip', onEnd);
    for (const track of stream.getVideoTracks()) {
      // a face that moves sharply matters more to the tracker than every pixel
      track.contentHint = 'motion';
      this.connection.addTransceiver(track, {direction: 'sendonly', streams: [stream]});
    }
  }
}

// Why no camera can be had, in words for the visitor.
export class CameraError extends Error {}

export async function openCamera() {
  if (!window.isSecureContext || !navigator.mediaDevices) {
    throw new CameraError('Browsers give the camera only to pages served over https or from this computer. ' +
      'Start visavis with --cert, or open it on the computer it runs on.');
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: {width: {ideal: 640}, height: {ideal: 480}, frameRate: {ideal: 30}, facingMode: 'user'},
    });
  } catch (error) {
    const reasons = {
      NotAllowedError: 'The camera was not allowed. Click the camera sign in the address line and allow it.',
      NotFoundError: 'No camera was found. Plug one in and start again.',
      NotReadableError: 'Another program uses the camera. Close it and start again.',
      OverconstrainedError: 'The camera offers no picture this page can use.',
      AbortError: 'The camera stopped while it was being opened. Start again.',
      SecurityError: 'This browser forbids cameras on this page.',
    };
    throw new CameraError(reasons[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

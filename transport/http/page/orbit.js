// Looking from another side: drag, pinch, scroll and arrow keys, sent to the server at most one at a time.

import {post} from './api.js';

const DEGREES_PER_SCREEN = 150; // a drag across the whole picture
const MAX_YAW = 120, MAX_PITCH = 45, MIN_ZOOM = 0.4, MAX_ZOOM = 3;

export class Orbit {
  constructor(stage, onError) {
    this.stage = stage;
    this.onError = onError;
    this.onChange = () => {};
    this.yaw = 0; this.pitch = 0; this.zoom = 1;
    this.pointers = new Map();
    this.sending = false;
    this.waiting = false;
    stage.addEventListener('pointerdown', event => this.#down(event));
    stage.addEventListener('pointermove', event => this.#move(event));
    for (const name of ['pointerup', 'pointercancel', 'lostpointercapture'])
      stage.addEventListener(name, event => this.pointers.delete(event.pointerId));
    stage.addEventListener('dblclick', () => this.reset());
    stage.addEventListener('wheel', event => {
      if (!stage.classList.contains('live')) return;
      event.preventDefault();
      this.turn(0, 0, Math.exp(-event.deltaY / 600));
    }, {passive: false});
  }

  reset() {
    this.yaw = 0; this.pitch = 0; this.zoom = 1;
    this.#send();
  }

  turn(yaw, pitch, factor = 1) {
    const clamp = (value, limit) => Math.min(limit, Math.max(-limit, value));
    this.yaw = clamp(this.yaw + yaw, MAX_YAW);
    this.pitch = clamp(this.pitch + pitch, MAX_PITCH);
    this.zoom = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, this.zoom * factor));
    this.#send();
  }

  #down(event) {
    if (event.target.closest('button, form, input') || !this.stage.classList.contains('live')) return;
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, event);
    this.stage.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const size = this.stage.clientWidth;
    if (this.pointers.size === 1) {
      const scale = DEGREES_PER_SCREEN / size;
      // the face follows the finger: dragging right looks from the left
      this.turn(-(event.clientX - before.clientX) * scale, (event.clientY - before.clientY) * scale);
    } else {
      const other = [...this.pointers.values()].find(pointer => pointer.pointerId !== event.pointerId);
      const distance = pointer => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
      this.turn(0, 0, distance(event) / Math.max(1, distance(before)));
    }
    this.pointers.set(event.pointerId, event);
  }

  async #send() {
    this.onChange();
    if (this.sending) { this.waiting = true; return; }
    this.sending = true;
    try {
      do {
        this.waiting = false;
        await post('/api/orbit', {yaw_deg: this.yaw, pitch_deg: this.pitch, zoom: this.zoom});
      } while (this.waiting);
    } catch (error) {
      this.onError(error);
    } finally {
      this.sending = false;
    }
  }
}

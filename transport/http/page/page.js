// The page: connects, shows the state, and turns buttons and keys into wishes.

import {ServerError, adoptToken, get, post, setToken} from './api.js';
import * as figures from './figures.js';
import {Orbit} from './orbit.js';
import {closeSheets, prepareBackgrounds, saveRecording, showAvatars, toast, toggleSheet, wish} from './panels.js';
import {CameraError, Sending, Watching, openCamera} from './session.js';

const STATE_EVERY_MS = 2000, FIGURES_EVERY_MS = 1000, FROZEN_AFTER_MS = 2500;
const RETRY_MS = [1000, 2000, 4000, 8000];

const $ = id => document.getElementById(id);
const stage = $('stage'), avatar = $('avatar'), preview = $('preview');

let state = null;       // the server's last /api/state
let watching = null;    // Watching, while connected or connecting
let sending = null;     // Sending, while this visitor's camera goes up
let camera = null;      // MediaStream
let wanted = false;     // whether the visitor wants the stream
let retries = 0, retryTimer = null;
let lastFrameAt = 0;

// --- what the visitor reads ---------------------------------------------------------------------

function status(kind, text) {
  $('status').dataset.state = kind;
  $('status-text').textContent = capitalised(text);
}

function capitalised(text) {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

// An overlay on the stage: {title, text, button: {label, run}, spinner, token}; null takes it away.
function notice(content) {
  stage.classList.toggle('dimmed', Boolean(content) && stage.classList.contains('live'));
  if (!content) return;
  $('notice-title').textContent = content.title;
  $('notice-text').textContent = content.text ?? '';
  $('spinner').hidden = !content.spinner;
  $('token-form').hidden = !content.token;
  $('notice-button').hidden = !content.button;
  if (content.button) {
    $('notice-button').textContent = content.button.label;
    $('notice-button').onclick = content.button.run;
  }
}

function showIdle() {
  status('idle', 'Stopped');
  const own = state?.takes_camera;
  notice({
    title: own ? 'Be your avatar' : 'Ready',
    text: own ? 'Your camera’s picture goes to this server and nowhere else.' : 'The avatar is waiting.',
    button: {label: own ? 'Start with my camera' : 'Start', run: start},
  });
}

function showError(error) {
  disconnect();
  stage.classList.remove('live');
  if (error.status === 401) {
    status('error', 'Token needed');
    notice({title: 'This page needs its token',
      text: 'Open the whole address that visavis printed, or paste the token here.', token: true});
    return;
  }
  status('error', 'Not connected');
  const lasting = [403, 406, 415].includes(error.status);
  if (lasting || !wanted) {
    wanted = false;
    notice({title: 'That did not work', text: error.message, button: {label: 'Try again', run: start}});
    return;
  }
  const wait = RETRY_MS[Math.min(retries++, RETRY_MS.length - 1)];
  const titles = {0: 'The server is away', 503: 'All places are taken'};
  notice({title: titles[error.status] ?? 'The connection is interrupted', spinner: true,
    text: `${error.message} Trying again…`, button: {label: 'Try now', run: connect}});
  clearTimeout(retryTimer);
  retryTimer = setTimeout(connect, wait);
}

// --- connecting -----------------------------------------------------------------------------------

async function start() {
  wanted = true;
  retries = 0;
  await connect();
}

async function connect() {
  clearTimeout(retryTimer);
  disconnect();
  status('busy', 'Connecting');
  notice({title: 'Connecting', spinner: true});
  showStartButton();
  if (!('RTCPeerConnection' in window)) {
    showError(new ServerError(406, 'This browser has no WebRTC. Use a current Chrome, Firefox, Edge or Safari.'));
    return;
  }
  const mine = watching = new Watching(avatar, message => showError(new ServerError(-1, message)));
  try {
    showState(await get('/api/state'));
    if (state.takes_camera) await sendCamera();
    if (watching !== mine) return;
    await mine.open(state.ice_servers);
    if (watching !== mine) return;
    retries = 0;
    lastFrameAt = performance.now();
    watchFrames();
    await avatar.play();
  } catch (error) {
    if (watching !== mine) return;
    disconnect();
    if (error.name === 'NotAllowedError') {
      notice({title: 'Tap to see the picture', button: {label: 'Show', run: start}});
    } else if (error instanceof ServerError) {
      showError(error);
    } else {
      wanted = false;
      status('error', 'Not connected');
      const title = error instanceof CameraError ? 'Your camera cannot be used' : 'That did not work';
      notice({title, text: error.message, button: {label: 'Try again', run: start}});
    }
    showStartButton();
  }
}

async function sendCamera() {
  camera = await openCamera();
  camera.getVideoTracks()[0].onended = () => {
    if (!wanted) return;
    stop();
    notice({title: 'Your camera stopped', text: 'It was unplugged or taken by another program.',
      button: {label: 'Start again', run: start}});
  };
  preview.srcObject = camera;
  sending = new Sending(camera, message => showError(new ServerError(-1, message)));
  await sending.open(state.ice_servers);
}

// Two visitors must not take the camera's place from each other for ever: the one who lost it is asked.
function cameraTaken() {
  stop();
  notice({title: 'Another camera took over', text: 'Someone else is sending their camera to this server now.',
    button: {label: 'Take it back', run: start}});
}

function disconnect() {
  watching?.close();
  sending?.close();
  watching = sending = null;
  camera?.getTracks().forEach(track => { track.onended = null; track.stop(); });
  camera = preview.srcObject = null;
}

function stop() {
  wanted = false;
  clearTimeout(retryTimer);
  disconnect();
  avatar.srcObject = null;
  stage.classList.remove('live');
  figures.clear();
  showIdle();
  showStartButton();
}

function watchFrames() {
  const mine = watching;
  const each = () => {
    if (watching !== mine) return;
    lastFrameAt = performance.now();
    if (!stage.classList.contains('live')) {
      stage.classList.add('live');
      notice(null);
      hint();
    }
    avatar.requestVideoFrameCallback(each);
  };
  if ('requestVideoFrameCallback' in avatar) avatar.requestVideoFrameCallback(each);
  else avatar.ontimeupdate = () => { lastFrameAt = performance.now(); stage.classList.add('live'); };
}

function hint() {
  if (sessionStorage.getItem('visavis-hint')) return;
  sessionStorage.setItem('visavis-hint', '1');
  $('hint').classList.add('shown');
  setTimeout(() => $('hint').classList.remove('shown'), 4000);
}

// --- state and figures ------------------------------------------------------------------------------

function showStartButton() {
  const running = wanted;
  $('start').querySelector('use').setAttribute('href', running ? '#i-stop' : '#i-start');
  $('start').querySelector('span').textContent = running ? 'Stop' : 'Start';
  for (const id of ['neutral', 'record', 'reset']) $(id).disabled = !running;
  $('preview-button').hidden = !state?.takes_camera;
  const shown = [...$('bar').children].filter(button => !button.hidden).length;
  $('bar').style.setProperty('--columns', shown <= 6 ? shown : Math.ceil(shown / 2));
}

function showState(next) {
  state = next;
  stage.style.setProperty('--aspect', `${state.width} / ${state.height}`);
  $('mirror').setAttribute('aria-pressed', String(state.mirror));
  $('neutral').hidden = state.source === 'motion';
  $('mirror').hidden = state.source === 'motion';
  const recording = state.recording;
  $('record').setAttribute('aria-pressed', String(Boolean(recording)));
  $('record').querySelector('span').textContent = recording ? 'Stop' : 'Record';
  $('recording-pill').hidden = !recording;
  if (recording) {
    const seconds = Math.floor(recording.seconds);
    $('recording-text').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
    if (recording.error) toast(recording.error, {bad: true});
  }
  showAvatars(state, showState);
  showStartButton();
}

function isStill() {
  return performance.now() - lastFrameAt > FROZEN_AFTER_MS;
}

async function lookAtState() {
  if (!wanted || !watching || watching.closed) return;
  const mine = sending?.id;
  try {
    showState(await get(`/api/state?camera=${mine ?? ''}`));
  } catch (error) {
    // while pictures still come, a failed look at the state is no trouble worth telling
    if (error.status === 401 || isStill()) showError(error);
    return;
  }
  if (mine && mine === sending?.id && !state.camera_is_yours) {
    if (state.camera_connected) cameraTaken();
    else showError(new ServerError(-1, 'The server closed the connection of your camera.'));
    return;
  }
  const still = isStill();
  $('trouble').hidden = state.source_ok || still;
  $('trouble').textContent = capitalised(state.message);
  if (!stage.classList.contains('live')) {
    if (still) notice({title: 'Waiting for the picture', spinner: true, text: state.message});
  } else if (still) {
    status('busy', 'No new picture');
    notice({title: 'The picture stands still', spinner: true, text: state.message || 'Waiting for the server…'});
  } else if (!state.source_ok || state.message) {
    status(state.source_ok ? 'live' : 'busy', state.source_ok ? state.message : 'Waiting');
    notice(null);
  } else {
    status('live', 'Live');
    notice(null);
  }
}

async function lookAtFigures() {
  if (!watching || !stage.classList.contains('live')) return;
  const mine = await watching.figures();
  if ($('figures').hidden || !watching) return;
  try {
    figures.show((await get(`/api/figures?session=${watching.id}`)).live, mine);
  } catch (error) { /* told by lookAtState */ }
}

// --- buttons and keys ---------------------------------------------------------------------------------

const orbit = new Orbit(stage, error => toast(error.message, {bad: true}));
orbit.onChange = () => $('hint').classList.remove('shown');

async function remeasureNeutral() {
  if (!stage.classList.contains('live')) return;
  $('neutral').disabled = true;
  $('countdown').hidden = false;
  for (const number of [3, 2, 1]) {
    const count = document.createElement('b');
    count.textContent = String(number);
    $('countdown').replaceChildren(count, 'Relax your face and look into the camera');
    await new Promise(resolve => setTimeout(resolve, 800));
  }
  $('countdown').hidden = true;
  if (await wish($('neutral'), () => post('/api/neutral'), showState)) toast('Your resting face is now neutral.');
}

async function record() {
  if (!state?.recording) {
    await wish($('record'), async () => { await post('/api/record/start'); return get('/api/state'); }, showState);
    return;
  }
  let saved = null;
  await wish($('record'), async () => { saved = await post('/api/record/stop'); return get('/api/state'); }, showState);
  if (saved) {
    toast(`Recorded ${saved.seconds.toFixed(1)} s as ${saved.name}.`, {
      seconds: 20, action: {label: 'Save a copy', run: () => saveRecording(saved.name)}});
  }
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(error => toast(error.message, {bad: true}));
  else if (avatar.webkitEnterFullscreen) avatar.webkitEnterFullscreen(); // iPhones give it to videos only
  else toast('This browser has no full screen.', {bad: true});
}

function toggle(id, panel) {
  panel.hidden = !panel.hidden;
  $(id).setAttribute('aria-pressed', String(!panel.hidden));
}

const ACTIONS = [
  [' ', 'Space', 'Start or stop', () => (wanted ? stop() : start()), 'start'],
  ['a', 'A', 'Choose the avatar', () => toggleSheet('avatar'), 'avatar-button'],
  ['b', 'B', 'Choose the background', () => toggleSheet('background'), 'background-button'],
  ['n', 'N', 'Take your resting face as neutral', remeasureNeutral, 'neutral'],
  ['m', 'M', 'Mirror', () => wish($('mirror'), () => post('/api/mirror', {mirror: !state?.mirror}), showState), 'mirror'],
  ['0', '0', 'Straight on again', () => orbit.reset(), 'reset'],
  ['p', 'P', 'Show your own camera', () => toggle('preview-button', preview), 'preview-button'],
  ['r', 'R', 'Record or stop recording', record, 'record'],
  ['f', 'F', 'Full screen', fullScreen, 'full'],
  ['i', 'I', 'Figures', () => { toggle('figures-button', $('figures')); lookAtFigures(); }, 'figures-button'],
  ['?', '?', 'This list', () => ($('help').open ? $('help').close() : $('help').showModal()), 'help-button'],
  ['ArrowLeft', '← →', 'Look from the side', () => orbit.turn(-5, 0)],
  ['ArrowRight', null, null, () => orbit.turn(5, 0)],
  ['ArrowUp', '↑ ↓', 'Look from above or below', () => orbit.turn(0, 5)],
  ['ArrowDown', null, null, () => orbit.turn(0, -5)],
  ['+', '+ −', 'Closer, farther', () => orbit.turn(0, 0, 1.1)],
  ['-', null, null, () => orbit.turn(0, 0, 1 / 1.1)],
];

function prepare() {
  for (const [, key, text, run, button] of ACTIONS) {
    if (button) $(button).onclick = () => run();
    if (!key) continue;
    const name = document.createElement('dt'), meaning = document.createElement('dd');
    const cap = document.createElement('kbd');
    cap.textContent = key;
    name.append(cap);
    meaning.textContent = text;
    $('keys').append(name, meaning);
  }
  addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input')) return;
    if (event.key === 'Escape') { closeSheets(); return; }
    if (event.key === ' ' && event.target.closest('button')) return; // presses that button
    const action = ACTIONS.find(([key]) => key === event.key || key === event.key.toLowerCase());
    const button = action?.[4] && $(action[4]);
    if (!action || button?.disabled || button?.hidden) return;
    event.preventDefault();
    action[3]();
  });
  for (const button of document.querySelectorAll('.sheet .close')) button.onclick = () => closeSheets();
  $('help').querySelector('.close').onclick = () => $('help').close();
  addEventListener('pointerdown', event => {
    if (!event.target.closest('.sheet, #bar')) closeSheets();
  });
  $('token-form').onsubmit = event => {
    event.preventDefault();
    setToken($('token').value);
    start();
  };
  addEventListener('pagehide', disconnect);
  addEventListener('pageshow', event => { if (event.persisted && wanted) connect(); });
  addEventListener('online', () => { if (wanted && !stage.classList.contains('live')) connect(); });
  prepareBackgrounds(showState);
}

async function open() {
  adoptToken();
  prepare();
  showStartButton();
  try {
    showState(await get('/api/state'));
  } catch (error) {
    wanted = error.status === 0;
    showError(error);
    return;
  }
  // someone else's camera must never go up without a click; watching alone may begin at once
  if (state.takes_camera) showIdle();
  else await start();
}

setInterval(lookAtState, STATE_EVERY_MS);
setInterval(lookAtFigures, FIGURES_EVERY_MS);
open();

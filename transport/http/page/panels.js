// The sheets for avatar and background, and short messages at the top.

import {ServerError, post, request} from './api.js';

const COLOURS = ['#181a1f', '#2b3440', '#3f4a3c', '#5a4636', '#7d8b99', '#b9a58c', '#d9d4c8', '#f4f2ee'];
const MAX_SIDE = 1600; // a picture is made smaller here, before it is sent

const $ = id => document.getElementById(id);

export function toast(text, {bad = false, action = null, seconds = 6} = {}) {
  const box = document.createElement('div');
  box.className = bad ? 'toast bad' : 'toast';
  const words = document.createElement('span');
  words.textContent = text;
  box.append(words);
  if (action) {
    const button = document.createElement('button');
    button.textContent = action.label;
    button.onclick = () => { box.remove(); action.run(); };
    box.append(button);
  }
  $('toasts').append(box);
  while ($('toasts').children.length > 3) $('toasts').firstChild.remove();
  setTimeout(() => box.remove(), seconds * 1000);
}

export function closeSheets(except = null) {
  for (const name of ['avatar', 'background']) {
    if (name === except) continue;
    $(`${name}-sheet`).hidden = true;
    $(`${name}-button`).setAttribute('aria-expanded', 'false');
  }
}

export function toggleSheet(name) {
  closeSheets(name);
  const sheet = $(`${name}-sheet`);
  sheet.hidden = !sheet.hidden;
  $(`${name}-button`).setAttribute('aria-expanded', String(!sheet.hidden));
  if (!sheet.hidden) sheet.querySelector('[aria-checked=true], button:not(.close)')?.focus({preventScroll: true});
}

const faces = new Map(); // avatar name -> blob address of its picture, or null

export function showAvatars(state, onState) {
  $('about').textContent = state.about || '';
  const list = $('avatars');
  const key = JSON.stringify([state.avatars, state.avatar]);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...state.avatars.map(avatar => {
    const card = document.createElement('button');
    card.className = 'avatar-card';
    card.setAttribute('role', 'radio');
    card.setAttribute('aria-checked', String(avatar.name === state.avatar));
    if (avatar.licence) card.title = avatar.licence;
    const face = document.createElement('span');
    face.className = 'face';
    face.textContent = avatar.title.slice(0, 1);
    const label = document.createElement('span');
    label.textContent = avatar.title;
    card.append(face, label);
    card.onclick = () => wish(card, () => post('/api/avatar', {name: avatar.name}), onState);
    showFace(avatar.name, face);
    return card;
  }));
}

async function showFace(name, place) {
  if (!faces.has(name)) {
    faces.set(name, null);
    try {
      const response = await request(`/api/avatars/${encodeURIComponent(name)}/picture`);
      faces.set(name, URL.createObjectURL(await response.blob()));
    } catch (error) { /* the letter stays */ }
  }
  if (!faces.get(name)) return;
  const image = document.createElement('img');
  image.alt = '';
  image.src = faces.get(name);
  place.replaceChildren(image);
}

export function prepareBackgrounds(onState) {
  $('colours').replaceChildren(...COLOURS.map(colour => {
    const swatch = document.createElement('button');
    swatch.className = 'swatch';
    swatch.setAttribute('role', 'radio');
    swatch.setAttribute('aria-label', colour);
    swatch.style.background = colour;
    swatch.onclick = () => chooseColour(colour, onState);
    return swatch;
  }));
  // "change" comes once, when the chooser closes; "input" would send a request for every shade passed
  $('colour').onchange = () => chooseColour($('colour').value, onState);
  $('picture').onchange = () => choosePicture($('picture').files[0], onState);
  $('blur').onchange = () => wish($('blur'), () => post('/api/background', {blur: Number($('blur').value)}), onState);
}

async function chooseColour(colour, onState) {
  const done = await wish($('colours'), () => post('/api/background', {colour}), onState);
  if (!done) return;
  $('blur-row').hidden = true;
  for (const swatch of $('colours').children)
    swatch.setAttribute('aria-checked', String(swatch.getAttribute('aria-label') === colour));
}

async function choosePicture(file, onState) {
  if (!file) return;
  let body;
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    body = await new Promise(resolve => canvas.toBlob(resolve, 'image/jpeg', 0.92));
  } catch (error) {
    toast('This file is no picture the browser can read. Choose another one.', {bad: true});
    return;
  }
  const send = async () => (await request(`/api/background?blur=${$('blur').value}`, {
    method: 'POST', headers: {'Content-Type': 'image/jpeg'}, body})).json();
  if (await wish($('picture'), send, onState)) {
    $('blur-row').hidden = false;
    for (const swatch of $('colours').children) swatch.setAttribute('aria-checked', 'false');
  }
  $('picture').value = '';
}

// Run one wish with its button asleep; errors become a message. True when it was granted.
export async function wish(element, call, onState) {
  element.disabled = true;
  try {
    const state = await call();
    if (state && onState) onState(state);
    return true;
  } catch (error) {
    toast(error.message, {bad: true});
    if (!(error instanceof ServerError)) console.error(error);
    return false;
  } finally {
    element.disabled = false;
  }
}

export async function saveRecording(name) {
  try {
    const blob = await (await request(`/api/recordings/${name}`, {signal: undefined})).blob();
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    toast(error.message, {bad: true});
  }
}


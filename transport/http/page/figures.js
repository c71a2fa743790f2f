// The panel of live figures: what the server measures, and what this browser adds.

const NAMES = {
  capture: 'Capture', wait: 'Wait', detect: 'Detect', track: 'Track', solve: 'Solve', pose: 'Pose', render: 'Render',
  encode: 'Encode', network: 'Network', buffer: 'Buffer', decode: 'Decode',
};
const TOTALS = /^arrival_to_/; // sums of stages, not stages

const $ = id => document.getElementById(id);

export function bits(perSecond) {
  return perSecond >= 1e6 ? `${(perSecond / 1e6).toFixed(1)} Mb/s` : `${Math.round(perSecond / 1e3)} kb/s`;
}

export function clear() {
  for (const id of ['f-fps', 'f-latency', 'f-bitrate', 'f-loss', 'f-rtt', 'f-picture', 'f-dropped', 'f-viewers'])
    $(id).textContent = '–';
  $('stages').replaceChildren();
}

// live: the server's table; mine: Watching.figures() or null before the second look.
export function show(live, mine) {
  const stages = Object.entries(live)
    .filter(([name]) => name.endsWith('_p50_ms'))
    .map(([name, value]) => [name.slice(0, -'_p50_ms'.length), value])
    .filter(([name]) => !TOTALS.test(name));
  const order = Object.keys(NAMES);
  stages.sort((a, b) => (order.indexOf(a[0]) + 99) % 99 - (order.indexOf(b[0]) + 99) % 99);
  let latency = live.arrival_to_sent_p50_ms ?? stages.reduce((sum, [, value]) => sum + value, 0);
  if (mine) {
    const network = (mine.roundTripMs ?? 0) / 2;
    stages.push(['network', network], ['buffer', mine.bufferMs], ['decode', mine.decodeMs]);
    latency += network + mine.bufferMs + mine.decodeMs;
    $('f-fps').textContent = mine.fps.toFixed(1);
    $('f-bitrate').textContent = bits(mine.bitsPerSecond);
    $('f-loss').textContent = `${(100 * mine.loss).toFixed(1)} %`;
    $('f-rtt').textContent = mine.roundTripMs === null ? '–' : `${mine.roundTripMs.toFixed(1)} ms`;
    $('f-picture').textContent = mine.width ? `${mine.width} × ${mine.height} ${mine.codec ?? ''}` : '–';
    $('f-dropped').textContent = String(mine.dropped);
  } else if (live.fps !== undefined) {
    $('f-fps').textContent = live.fps.toFixed(1);
  }
  $('f-latency').textContent = latency > 0 ? latency.toFixed(0) : '–';
  $('f-viewers').textContent = String(live.viewers ?? 0);
  const longest = Math.max(10, ...stages.map(([, value]) => value));
  $('stages').replaceChildren(...stages.map(([name, value]) => row(NAMES[name] ?? name, value, longest)));
}

function row(name, value, longest) {
  const element = document.createElement('div');
  element.className = 'stage-row';
  const label = document.createElement('span');
  label.textContent = name;
  const bar = document.createElement('div');
  const filled = document.createElement('i');
  filled.style.width = `${Math.min(100, 100 * value / longest)}%`;
  bar.append(filled);
  const number = document.createElement('b');
  number.textContent = `${value.toFixed(1)} ms`;
  element.append(label, bar, number);
  return element;
}

// Talking to the server: the token, JSON, and errors in words a visitor understands.

const TOKEN_KEY = 'visavis-token';

export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: the server cannot be reached
  }
}

// The token comes behind # in the address, which no server and no log sees; it then leaves the address line.
export function adoptToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    sessionStorage.setItem(TOKEN_KEY, given);
    history.replaceState(null, '', location.pathname);
  }
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token.trim());
}

export function authorization() {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token ? {Authorization: 'Bearer ' + token} : {};
}

export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, {
      signal: AbortSignal.timeout(15000),
      ...options,
      headers: {...authorization(), ...options.headers},
    });
  } catch (error) {
    throw new ServerError(0, 'The server cannot be reached. Is visavis still running?');
  }
  if (response.ok) return response;
  let message = `The server answered ${response.status}.`;
  try {
    const told = (await response.json()).error;
    if (told) message = told[0].toUpperCase() + told.slice(1) + '.';
  } catch (error) { /* no JSON: the status must do */ }
  throw new ServerError(response.status, message);
}

export async function get(path) {
  return (await request(path)).json();
}

export async function post(path, body) {
  const response = await request(path, {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify(body ?? {}),
  });
  return response.status === 204 ? null : response.json();
}

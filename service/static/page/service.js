// Asks the service that this page comes from.

export class Refused extends Error {} // the service answered, and said what is wrong with the image

// Sends an image file. Throws Refused with the service's own words, or another error if it cannot be reached.
export async function ask(path, file) {
  const response = await fetch(path, { method: "POST", body: file });
  const answer = await response.json().catch(() => null);
  if (answer === null) throw new Error(`expected JSON from the service; got status ${response.status}`);
  if (response.ok) return answer;
  if (response.status >= 500) throw new Error(answer.error);
  throw new Refused(answer.error);
}

export async function fetchJson(path) {
  const response = await fetch(path);
  const answer = await response.json();
  if (!response.ok) throw new Refused(answer.error);
  return answer;
}

export function decodeBytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

export function encodeBytes(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

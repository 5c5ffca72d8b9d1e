// Requests to the service that serves this page.

export class RequestError extends Error {} // the service rejected the request, and the message says why

// Sends an image file to a path relative to the page's, which a proxy may serve below its own. Throws RequestError with the service's message, or another error if the service is unavailable.
export async function ask(path, file) {
  const response = await fetch(path, { method: "POST", body: file });
  const answer = await response.json().catch(() => null);
  if (answer === null) throw new Error(`expected JSON from the service; got status ${response.status}`);
  if (response.ok) return answer;
  if (response.status >= 500) throw new Error(answer.error);
  throw new RequestError(answer.error);
}

export async function fetchJson(path) {
  const response = await fetch(path);
  const answer = await response.json();
  if (!response.ok) throw new RequestError(answer.error);
  return answer;
}

export function decodeBytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// A canvas as an image file. Chromium's `toBlob` waits for the page to be idle, for up to 6.7 seconds.
export function fileOf(canvas, type = "image/png") {
  return new Blob([decodeBytes(canvas.toDataURL(type).split(",")[1])], { type });
}

export function encodeBytes(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

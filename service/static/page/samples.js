// The row of samples; the first is shown when the page opens.

import { showAlert } from "./answer.js";

// Calls `show` with a sample's file when its button is pressed, and with the first one's, and true, at once.
export function offerSamples(show) {
  const buttons = [...document.querySelectorAll("#samples button")];
  for (const button of buttons) {
    button.addEventListener("click", () => fetchFile(button.value).then(show, () => showAlert("The service does not answer.")));
  }
  fetchFile(buttons[0].value).then((file) => show(file, true), () => {}); // the page works without it
}

async function fetchFile(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`expected ${path}; got status ${response.status}`);
  return new File([await response.blob()], path.split("/").pop());
}

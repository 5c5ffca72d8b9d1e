// Stores corrected images in this browser, and packs them as the folder that `digits finetune --data` accepts.

import { zip } from "./zip.js";

const STORE = "images";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("digits-corrections", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function transact(mode, act) {
  const database = await open();
  try {
    const transaction = database.transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
    return request.result;
  } finally {
    database.close();
  }
}

export async function keep(file, label) {
  const bytes = await file.arrayBuffer();
  const ending = /\.(\w+)$/.exec(file.name ?? "")?.[1] ?? file.type.split("/")[1]?.replace("jpeg", "jpg") ?? "png";
  await transact("readwrite", (store) => store.add({ bytes, label, ending: ending.toLowerCase() }));
}

export const count = () => transact("readonly", (store) => store.count());
export const forget = () => transact("readwrite", (store) => store.clear());

// A zip with corrections/<digit>/<number>.<ending>.
export async function pack() {
  const images = await transact("readonly", (store) => store.getAll());
  return zip(
    images.map(({ bytes, label, ending }, index) => ({
      name: `corrections/${label}/${String(index + 1).padStart(4, "0")}.${ending}`,
      bytes: new Uint8Array(bytes),
    })),
  );
}

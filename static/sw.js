// The service worker: a page for when there is no connection, and photos from the phone's share sheet.
// Answers are never kept, and photos only in memory, until the page takes them.

const PREFIX = "tellapart-"; // on a developer's machine other programs may have caches at the same address
const CACHE = PREFIX + new URL(location.href).searchParams.get("v"); // the version of static/; see page_shared.js
const OFFLINE = "/offline";
const KEPT = [OFFLINE, "/static/page.css", "/static/icon.svg"];

let shared = [];

addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(KEPT)));
});

addEventListener("activate", (event) => event.waitUntil(dropOld()));

// Whatever is not named here, every answer among it, the browser asks for as if there were no worker.
addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (origin !== location.origin) return;
  if (request.method === "POST" && pathname === "/share") event.respondWith(receive(request));
  else if (request.mode === "navigate" && pathname === "/") event.respondWith(fetch(request).catch(() => kept(OFFLINE)));
  else if (KEPT.includes(pathname)) event.respondWith(fetch(request).catch(() => kept(pathname)));
});

addEventListener("message", ({ ports: [port] }) => {
  port.postMessage(shared);
  shared = [];
});

/** Hold the photos of a form from the share sheet and show the page, which asks for them. */
async function receive(request) {
  const form = await request.formData().catch(() => new FormData());
  shared.push(...form.getAll("file").filter((each) => each instanceof File));
  return Response.redirect("/?shared", 303);
}

async function kept(path) {
  return (await (await caches.open(CACHE)).match(path)) ?? Response.error();
}

async function dropOld() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
}

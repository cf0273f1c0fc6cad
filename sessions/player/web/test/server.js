// Serves the built page and one recording with HTTP Range, as `lucid replay` does, and counts what it hands out.
import { createServer } from "node:http";
import { open, readFile, stat } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** Serves `recording`, a path, and the files in `beside`, by their addresses. Returns its address, `state` (bytes of the recording sent, largest answer) and `close`. */
export async function serve(recording, beside = {}) {
  const state = { sent: 0, largest: 0 };
  const server = createServer(async (request, response) => {
    try {
      const path = new URL(request.url, "http://localhost").pathname;
      response.setHeader("content-security-policy", POLICY);
      response.setHeader("x-content-type-options", "nosniff");
      if (path === "/recording") return await range(request, response, recording, state);
      if (beside[path]) return response.writeHead(200, { "content-type": "application/octet-stream" }).end(await readFile(beside[path]));
      const name = normalize(path === "/" ? "/index.html" : path);
      const body = await readFile(join(DIST, name));
      response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    state,
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}

async function range(request, response, recording, state) {
  const { size } = await stat(recording);
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  if (from === undefined || Number(from) >= size) return response.writeHead(416, { "content-range": `bytes */${size}` }).end();
  const [start, end] = [Number(from), Math.min(Number(to), size - 1)];
  const file = await open(recording);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(end - start + 1), 0, end - start + 1, start);
    state.sent += bytesRead;
    state.largest = Math.max(state.largest, bytesRead);
    response
      .writeHead(206, { "content-type": "application/octet-stream", "content-range": `bytes ${start}-${end}/${size}`, "content-length": bytesRead })
      .end(buffer);
  } finally {
    await file.close();
  }
}

// `node test/server.js FILE` serves until it is stopped, to look at the page by hand.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log((await serve(process.argv[2])).url);
}

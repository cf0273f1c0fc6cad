// The built page in a headless Chromium against a synthetic one-hour recording. Run scripts/build-player first.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./server.js";

const ROOT = fileURLToPath(new URL("../../../..", import.meta.url));
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

let dir, browser, seed, frames;
const servers = [];

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "lucid-player-"));
  execFileSync("cargo", ["run", "--quiet", "--locked", "-p", "lucid-player", "--example", "synthetic", "--", dir, "60"], { cwd: ROOT, stdio: ["ignore", "ignore", "inherit"] });
  seed = await readFile(join(dir, "seed"), "utf8");
  frames = JSON.parse(await readFile(join(dir, "frames.json"), "utf8"));
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});

after(async () => {
  await browser?.close();
  await Promise.all(servers.map((server) => server.close()));
  await rm(dir, { recursive: true, force: true });
});

/** Opens the page on `file`; fails the test on anything the browser complains about. */
async function open(t, file, hash = "", viewport = { width: 1280, height: 800 }) {
  const server = await serve(join(dir, file));
  servers.push(server);
  const page = await browser.newPage({ viewport });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  t.after(async () => {
    await page.close();
    // An empty file is answered with 416, which the browser logs.
    assert.deepEqual(complaints.filter((text) => !text.includes("416")), []);
  });
  await page.goto(server.url + hash);
  return { page, server };
}

async function opened(t, file = "recording.lucid", hash = `#k=${seed}`, viewport) {
  const opened = await open(t, file, hash, viewport);
  await opened.page.evaluate(() => window.lucid.ready);
  return opened;
}

const seek = (page, second) => page.evaluate((s) => window.lucid.seek(s), second);
const text = (page, selector) => page.locator(selector).innerText();

/** A copy of the recording, changed. */
async function changed(name, change) {
  const bytes = await readFile(join(dir, "recording.lucid"));
  await writeFile(join(dir, name), change(bytes) ?? bytes);
  return name;
}

test("every sought frame is the one the native decoder makes", async (t) => {
  const { page, server } = await opened(t);
  const seconds = Object.keys(frames).map(Number);
  // There and back, so that most seeks are far jumps.
  const order = seconds.flatMap((s, i) => (i % 2 ? [] : [s, seconds[seconds.length - 1 - i]]));
  for (const second of order) {
    await seek(page, second);
    assert.equal(await page.evaluate(() => window.lucid.frameHash()), frames[second], `second ${second}`);
  }
  assert.ok(server.state.largest < 300_000, `read in pieces, the largest ${server.state.largest} bytes`);
});

test("the canvas shows the decoder's pixels", async (t) => {
  const { page } = await opened(t);
  await seek(page, 3600);
  const shown = await page.evaluate(() => {
    const canvas = document.getElementById("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.width, canvas.height, Array.from(data)];
  });
  const frame = await readFile(join(dir, "frame.rgba"));
  assert.deepEqual([shown[0], shown[1]], [frame.readUInt32LE(0), frame.readUInt32LE(4)]);
  assert.ok(Buffer.from(shown[2]).equals(frame.subarray(8)));
});

test("playing comes to the same frames as seeking", async (t) => {
  const { page } = await opened(t);
  await seek(page, 92);
  await page.selectOption("#speed", "16");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => document.getElementById("elapsed").textContent >= "0:01:50");
  await page.locator("#play").click();
  assert.equal(await page.locator("#play").getAttribute("aria-label"), "Play");
  const [us, hash] = await page.evaluate(() => [Number(document.getElementById("timeline").ariaValueNow), window.lucid.frameHash()]);
  assert.ok(us >= 110);
  // Away and back to the very same instant, which is now decoded from a keyframe.
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowLeft");
  await page.waitForTimeout(500);
  assert.equal(await page.evaluate(() => window.lucid.frameHash()), hash);
});

test("all chunks are verified, and the page says what was proven", async (t) => {
  const { page } = await opened(t);
  assert.deepEqual(await page.evaluate(() => window.lucid.verified), { ok: 360, bad: 0, of: 360, done: true, opened: true });
  assert.equal(await text(page, "#status-text"), "Verified, complete");
  const panel = await text(page, "#panel");
  for (const words of ["360 of 360 chunks verified", "operator1", "desk1", "OPERATOR-PC", "the user signed out", "Signature"]) {
    assert.ok(panel.includes(words), words);
  }
  assert.equal(await text(page, "#chunk-text"), "Chunk 0 verified");
  assert.equal(new URL(page.url()).hash, "", "the key is not left in the address");
  await page.reload();
  await page.evaluate(() => window.lucid.ready);
});

test("idle time is skipped when asked", async (t) => {
  const { page } = await opened(t);
  await page.evaluate(() => window.lucid.verified);
  await seek(page, 560);
  await page.keyboard.press("i");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => Number(document.getElementById("timeline").ariaValueNow) >= 779);
  assert.match(await text(page, "#toast"), /Skipped 3 min/);
});

test("keys, clicks, clipboard and remarks are overlaid and can be hidden", async (t) => {
  const { page } = await opened(t);
  await seek(page, 176);
  assert.equal(await text(page, "#notes .note"), "Copied from the desktop\nTotal for Q3: 48,210.00 €");
  assert.ok((await text(page, "#keys")).length > 0);
  assert.ok(await page.locator("#cursor").isVisible());
  await page.keyboard.press("k");
  assert.equal(await page.locator("#notes .note, #keys .key").count(), 0);
  await seek(page, 294);
  await page.keyboard.press("k");
  assert.match(await text(page, "#notes"), /Blocked: drives, to the desktop/);
});

test("a key file and its passphrase open it, a wrong one does not", async (t) => {
  const { page } = await open(t, "recording.lucid");
  await page.setInputFiles("#key-file", join(dir, "auditor.key"));
  await page.fill("#passphrase", "wrong");
  await page.click("text=Open");
  await page.waitForFunction(() => document.querySelector(".fault").textContent.includes("wrong passphrase"));
  await page.fill("#passphrase", "correct horse");
  await page.keyboard.press("Enter");
  await page.evaluate(() => window.lucid.ready);
  assert.equal((await page.evaluate(() => window.lucid.verified)).ok, 360);
});

test("a wrong key in the address is refused", async (t) => {
  const { page } = await open(t, "recording.lucid", `#k=${"A".repeat(43)}`);
  await page.waitForFunction(() => document.getElementById("card").textContent.includes("this key does not open it"));
});

test("a changed chunk is named, and the rest still plays", async (t) => {
  const file = await changed("changed.lucid", (bytes) => void (bytes[bytes.length >> 1] ^= 1));
  const { page } = await opened(t, file);
  const tally = await page.evaluate(() => window.lucid.verified);
  assert.deepEqual([tally.ok, tally.bad], [359, 1]);
  assert.equal(await text(page, "#status-text"), "1 of 360 chunks does not verify");
  // Find it as a viewer would: from where its mark is.
  await seek(page, 97);
  assert.equal(await page.evaluate(() => window.lucid.frameHash()), frames[97]);
  let named = null;
  for (let second = 1000; second < 2600 && named === null; second += 10) {
    await seek(page, second + 5);
    if (await page.locator("#card").isVisible()) named = await text(page, "#card");
  }
  assert.match(named ?? "", /Chunk \d+ was changed/);
  assert.match(named ?? "", /must not be used as evidence/);
  await page.click("text=Go on after it");
  await page.waitForFunction(() => !document.getElementById("screen").hidden && document.getElementById("card").hidden);
});

test("files that are none are refused in words", async (t) => {
  const cases = [
    [await changed("version.lucid", (bytes) => void (bytes[8] = 9)), /Unsupported version[^]*version 9/],
    [await changed("short.lucid", (bytes) => bytes.subarray(0, bytes.length - 100)), /cut short/],
    [await changed("empty.lucid", () => Buffer.alloc(0)), /cut short[^]*empty/],
    [await changed("other.lucid", () => Buffer.from("PK".repeat(100))), /not a Lucid recording/],
    [await changed("index.lucid", (bytes) => void (bytes[bytes.length - 200] ^= 1)), /was changed|does not follow/],
    ["gone.lucid", /cannot be read/],
  ];
  for (const [file, words] of cases) {
    const server = await serve(join(dir, file));
    servers.push(server);
    const page = await browser.newPage();
    await page.goto(`${server.url}#k=${seed}`);
    await page.waitForSelector("#card:not([hidden])");
    assert.match(await text(page, "#card"), words, file);
    await page.close();
  }
});

test("a disclosed part opens without a key and says what it is", async (t) => {
  const { page } = await opened(t, "part.lucid", "");
  assert.deepEqual(await page.evaluate(() => window.lucid.verified), { ok: 6, bad: 0, of: 6, done: true, opened: true });
  assert.equal(await text(page, "#status-text"), "Verified part");
  assert.match(await text(page, "#panel"), /Chunks 60 to 65 of 360/);
});

test("everything works from the keyboard and has a name", async (t) => {
  const { page } = await opened(t);
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, select, [role=slider], input")]
      .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.closest("label")?.textContent.trim()))
      .map((e) => e.id),
  );
  assert.deepEqual(nameless, []);
  await page.focus("#timeline");
  await page.keyboard.press("End");
  await page.waitForFunction(() => document.getElementById("timeline").ariaValueNow === "3600");
  assert.equal(await page.locator("#timeline").getAttribute("aria-valuetext"), "1:00:00 of 1:00:00");
  // Named once the last frame is there.
  await page.waitForFunction(() => document.getElementById("play").ariaLabel === "Play again");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => document.getElementById("timeline").ariaValueNow === "5");
  await page.keyboard.press(".");
  assert.equal(await page.inputValue("#speed"), "2");
  await page.keyboard.press("v");
  assert.ok(!(await page.locator("#panel").isVisible()));
});

test("it fits a telephone", async (t) => {
  const { page } = await opened(t, "recording.lucid", `#k=${seed}`, { width: 390, height: 844 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.ok(await page.locator("#play").isVisible());
});

test("a proof beside the recording says when it was anchored, and one of another recording says that it is not", async (t) => {
  const vectors = join(ROOT, "tests/vectors/proof");
  const shown = async (file, proof) => {
    const beside = { "/proof": join(vectors, proof), "/genesis": join(vectors, "genesis.json") };
    const server = await serve(join(vectors, file), beside);
    servers.push(server);
    const page = await browser.newPage();
    t.after(() => page.close());
    await page.goto(`${server.url}?proof`);
    await page.waitForFunction(() => /nchored/.test(document.getElementById("proofs").textContent));
    return text(page, "#proofs");
  };
  assert.match(await shown("closed.lucid", "closed.lucidproof"), /Anchored: block \d+, [\s\S]*Opened in block 1,/);
  assert.match(await shown("part.lucid", "closed.lucidproof"), /Anchored: block \d+,/);
  assert.match(await shown("closed.lucid", "open.lucidproof"), /Anchored, open in block \d+,[\s\S]*The last 2 chunks are not anchored/);
  assert.match(await shown("second.lucid", "closed.lucidproof"), /Not anchored\s+the recording is of session/);
  assert.match(await shown("closed.lucid", "bad-no-quorum.lucidproof"), /Not anchored\s+the certificate of height/);
});

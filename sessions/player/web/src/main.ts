import { ask, tell } from "./card";
import { Overlay } from "./overlay";
import { Panel, type Tally, swap } from "./panel";
import { Playback, type Shown } from "./playback";
import { Problem } from "./problem";
import { type Key, type Recording, anchor, open, unlock } from "./recording";
import { clock, span, wall, zone } from "./time";
import { Timeline } from "./timeline";
import type { Report } from "./verifier";

declare global {
  interface Window {
    /** For tests: `ready` when the first picture is shown; times in seconds. */
    lucid: { ready: Promise<void>; seek(seconds: number): Promise<void>; frameHash(): string; verified: Promise<Tally> };
  }
}

const RECORDING = new URL("recording", document.baseURI).href;
/** Served beside the recording where the address says so. */
const [PROOF, GENESIS] = ["proof", "genesis"].map((name) => new URL(name, document.baseURI).href) as [string, string];
const by = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

const stage = by("stage");
const screen = by("screen");
const canvas = by<HTMLCanvasElement>("canvas");
const cursor = document.getElementById("cursor") as unknown as SVGElement;
const card = by("card");
const controls = by("controls");
const playButton = by<HTMLButtonElement>("play");
const speed = by<HTMLSelectElement>("speed");
const panel = new Panel(by("proofs"), by("facts"), by("status"), by("status-text"));

let recording: Recording;
let playback: Playback;
let timeline: Timeline;
let overlay: Overlay;
const tally: Tally = { ok: 0, bad: 0, of: 0, done: false, opened: false };

const ready = Promise.withResolvers<void>();
const verified = Promise.withResolvers<Tally>();
window.lucid = {
  ready: ready.promise,
  verified: verified.promise,
  seek: (seconds) => playback.seek(seconds * 1e6),
  frameHash: () => recording.replay.frame_hash(),
};

/** The seed in the address: taken out of it, and kept with this entry of the history so that a reload still has it. */
function seedFromAddress(): Uint8Array | null {
  const text = new URLSearchParams(location.hash.slice(1)).get("k");
  const kept = (history.state as { seed?: string } | null)?.seed;
  const seed = text ?? kept;
  if (!seed) return null;
  history.replaceState({ seed }, "", location.pathname + location.search);
  try {
    const binary = atob(seed.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(binary, (c) => c.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

async function start(): Promise<void> {
  const seed = seedFromAddress();
  recording = await open(RECORDING);
  const { info } = recording;
  tally.of = info.held;
  const what = by("what");
  const part = (name: "strong" | "span", text: string) => Object.assign(document.createElement(name), { textContent: text });
  what.replaceChildren(part("strong", info.user), part("span", ` on ${info.target}, ${wall(info.startedUs)}`));
  document.title = `${info.user} on ${info.target} – Lucid`;
  panel.describe(info);
  if (new URLSearchParams(location.search).has("proof")) {
    await anchor(recording, PROOF, GENESIS).then(
      (found) => panel.anchored(found),
      (error: unknown) => panel.notAnchored(Problem.of(error).message),
    );
  }
  panel.show(info, tally);
  timeline = new Timeline(by("timeline"), recording.chunks, info.first, (us) => void playback.seek(us));

  if (info.unlocked) begin(null);
  else if (seed) await tryKey({ seed }).then((fault) => (fault ? askForKey(fault) : undefined));
  else if (info.shredded) {
    verify(null);
    tell(card, new Problem("no-key", "the recording's keys were destroyed; it can still be verified"), []);
  } else askForKey();
}

function askForKey(fault?: string): void {
  verify(null);
  const reason = "Its signatures hold. To watch it, choose a key it was sealed to. The key stays in this page.";
  ask(card, fault ?? reason, tryKey);
}

/** Takes a key and opens the first chunk with it; says what is wrong, or nothing. */
async function tryKey(key: Key): Promise<string | null> {
  try {
    unlock(recording.replay, key);
    const first = recording.chunks[0];
    if (first) recording.replay.load(0, await recording.source.read(first.offset, first.length));
  } catch (error) {
    const problem = Problem.of(error, 0);
    if (problem.kind !== "wrong-key" && problem.kind !== "no-key" && problem.kind !== "malformed") {
      // The key fits; what it opens does not. Playing comes to it and says so.
      begin(key);
      return null;
    }
    recording.replay.lock();
    return `${problem.message[0]?.toUpperCase() ?? ""}${problem.message.slice(1)}.`;
  }
  begin(key);
  return null;
}

function begin(key: Key | null): void {
  const asked = !card.hidden;
  card.hidden = true;
  tally.opened = true;
  verify(key, true);
  overlay = new Overlay(by("keys"), by("notes"), by("ripples"), () => [canvas.width, canvas.height]);
  playback = new Playback(recording, canvas, { frame, events, state, proven, skipped, problem }, (us) => timeline.nextActivity(us));
  controls.inert = false;
  wire();
  void playback.seek(playback.startUs).then(() => {
    ready.resolve();
    // The form that had the focus is gone.
    if (asked) playButton.focus();
  });
}

let worker: Worker | null = null;

function verify(key: Key | null, opened = false): void {
  worker?.terminate();
  worker = new Worker(new URL("./verifier.ts", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<Report>) => {
    if ("done" in data) {
      tally.done = true;
      if (data.problem) panel.fault(data.problem.message);
      else panel.show(recording.info, tally);
      if (opened || recording.info.shredded) verified.resolve({ ...tally });
    } else if ("problem" in data) {
      timeline.mark(data.chunk, "bad");
      count();
    } else {
      timeline.heat(data.chunk, data.activity);
      proven(data.chunk);
    }
  };
  worker.postMessage({ url: RECORDING, key });
}

function count(): void {
  tally.ok = timeline.marks.filter((mark) => mark === "ok").length;
  tally.bad = timeline.marks.filter((mark) => mark === "bad").length;
  panel.show(recording.info, tally);
  if (playback) chunk(playback.nowUs);
}

function proven(index: number): void {
  if (timeline.marks[index] === "ok") return;
  timeline.mark(index, "ok");
  count();
}

function frame(nowUs: number): void {
  const { info, replay } = recording;
  timeline.show(nowUs);
  by("elapsed").textContent = clock(nowUs, playback.endUs);
  by("total").textContent = `/ ${clock(playback.endUs)}`;
  by("wall").textContent = `${wall(info.startedUs + nowUs)} ${zone(info.startedUs)}`;
  chunk(nowUs);
  overlay.draw(nowUs);

  const blank = replay.width() === 0;
  if (screen.hidden !== blank || screen.dataset["size"] !== `${canvas.width}×${canvas.height}`) {
    screen.hidden = blank;
    screen.dataset["size"] = `${canvas.width}×${canvas.height}`;
    fit();
  }
  const [x, y] = replay.pointer();
  cursor.toggleAttribute("hidden", x === undefined || y === undefined);
  if (x !== undefined && y !== undefined) {
    cursor.style.left = `${(x / canvas.width) * 100}%`;
    cursor.style.top = `${(y / canvas.height) * 100}%`;
  }
  if (!card.hidden && card.dataset["kind"] === "bad") card.hidden = true;
}

function chunk(nowUs: number): void {
  const index = timeline.chunkAt(nowUs);
  const mark = timeline.marks[index] ?? "pending";
  const box = by("chunk");
  box.dataset["state"] = mark;
  swap(box, mark === "bad" ? "i-cross" : "i-check");
  const state = { pending: "not verified yet", ok: "verified", bad: "does not verify" }[mark];
  by("chunk-text").textContent = `Chunk ${index + recording.info.first} ${state}`;
}

function events(shown: Shown[], fresh: boolean): void {
  overlay.add(shown, fresh, playback.nowUs);
  overlay.draw(playback.nowUs);
}

function state(): void {
  const label = playback.playing ? "Pause" : playback.ended ? "Play again" : "Play";
  playButton.setAttribute("aria-label", label);
  playButton.title = `${label} (space)`;
  swap(playButton, playback.playing ? "i-pause" : playback.ended ? "i-again" : "i-play");
  by("waiting").hidden = !playback.waiting;
}

let toast: ReturnType<typeof setTimeout> | undefined;

function say(text: string): void {
  by("toast").textContent = text;
  by("toast").classList.add("on");
  clearTimeout(toast);
  toast = setTimeout(() => by("toast").classList.remove("on"), 1800);
}

function skipped(us: number): void {
  say(`Skipped ${span(us)} of idle time`);
}

function problem(found: Problem): void {
  screen.hidden = true;
  if (found.kind === "tampered" && found.chunk !== undefined) {
    timeline.mark(found.chunk - recording.info.first, "bad");
    count();
  }
  const after = recording.chunks.findIndex((c, i) => c.startUs > playback.nowUs && c.keyframe && timeline.marks[i] !== "bad");
  const next = recording.chunks[after];
  tell(card, found, next ? [["Go on after it", () => void playback.seek(next.startUs)]] : []);
}

function fit(): void {
  const [width, height] = [canvas.width, canvas.height];
  const room = Math.min(stage.clientWidth, 100_000);
  const margin = room > 600 ? 20 : 8;
  const scale = Math.min((room - 2 * margin) / width, (stage.clientHeight - 2 * margin) / height);
  // Whole pixels where the screen fits as it is: text stays sharp.
  const factor = scale >= 1 ? 1 : scale;
  screen.style.width = `${Math.max(1, Math.round(width * factor))}px`;
  screen.style.height = `${Math.max(1, Math.round(height * factor))}px`;
}

function press(button: HTMLElement, on: boolean): void {
  button.setAttribute("aria-pressed", String(on));
}

function toggleOverlay(): void {
  overlay.visible = !overlay.visible;
  press(by("overlay"), overlay.visible);
  overlay.draw(playback.nowUs);
}

function toggleIdle(): void {
  playback.skipIdle = !playback.skipIdle;
  press(by("idle"), playback.skipIdle);
}

function togglePanel(): void {
  const closed = document.body.classList.toggle("panel-closed");
  by("status").setAttribute("aria-expanded", String(!closed));
  fit();
}

function toggleFull(): void {
  if (document.fullscreenElement) void document.exitFullscreen();
  else void document.body.requestFullscreen().catch(() => say("This browser does not allow full screen here"));
}

function toggle(): void {
  if (playback.playing) playback.pause();
  else playback.play();
}

function skip(seconds: number): void {
  void playback.seek(playback.nowUs + seconds * 1e6);
}

function faster(by: 1 | -1): void {
  speed.selectedIndex = Math.min(speed.options.length - 1, Math.max(0, speed.selectedIndex + by));
  playback.speed = Number(speed.value);
  say(`${speed.value}×`);
}

let wired = false;

function wire(): void {
  if (wired) return;
  wired = true;
  playButton.addEventListener("click", toggle);
  by("back").addEventListener("click", () => skip(-5));
  by("forward").addEventListener("click", () => skip(5));
  by("idle").addEventListener("click", toggleIdle);
  by("overlay").addEventListener("click", toggleOverlay);
  by("full").addEventListener("click", toggleFull);
  speed.addEventListener("change", () => (playback.speed = Number(speed.value)));
  canvas.addEventListener("click", toggle);
  const keys: Record<string, () => void> = {
    " ": toggle,
    ArrowLeft: () => skip(-5),
    ArrowRight: () => skip(5),
    ",": () => faster(-1),
    ".": () => faster(1),
    k: toggleOverlay,
    i: toggleIdle,
    v: togglePanel,
    f: toggleFull,
  };
  document.addEventListener("keydown", (event) => {
    const at = event.target as HTMLElement;
    const typing = at.matches("input, select, summary") || (event.key === " " && at.matches("button"));
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
}

by("status").addEventListener("click", togglePanel);
new ResizeObserver(() => {
  if (!screen.hidden) fit();
}).observe(stage);

start().catch((error: unknown) => {
  const found = Problem.of(error);
  panel.fault("Not verified");
  document.body.classList.add("panel-closed");
  tell(card, found, [["Try again", () => location.reload()]]);
  ready.reject(found);
});
ready.promise.catch(() => undefined);

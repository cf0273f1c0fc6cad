import { Problem } from "./problem";
import type { Recording } from "./recording";

/** Something for the overlay. */
export interface Shown {
  timeUs: number;
  kind: "text" | "chord" | "click" | "clipboard-in" | "clipboard-out" | "marker";
  text: string;
  x: number | null;
  y: number | null;
}

/** What playback tells the page. */
export interface Listener {
  /** A new picture, or a new instant of the same. */
  frame(nowUs: number): void;
  /** What happened since the last call; `fresh` when what was shown before is void. */
  events(events: Shown[], fresh: boolean): void;
  /** Playing, pausing, waiting for bytes. */
  state(): void;
  /** A chunk was proven and opened. */
  proven(chunk: number): void;
  /** A stretch of idle time was left out, in µs. */
  skipped(us: number): void;
  /** It cannot go on from here. */
  problem(problem: Problem): void;
}

const AHEAD_US = 6_000_000;
const IDLE_US = 2_500_000;
const LEAD_US = 700_000;

/** Moves through the recording: fetches, loads, seeks, plays, paints. */
export class Playback {
  playing = false;
  waiting = false;
  speed = 1;
  skipIdle = false;
  nowUs = 0;
  private wanted: number | null = null;
  private seeking: Promise<void> | null = null;
  private last = 0;
  private stuck = false;
  private readonly loading = new Map<number, Promise<void>>();
  private readonly context: CanvasRenderingContext2D;

  constructor(
    private readonly recording: Recording,
    private readonly canvas: HTMLCanvasElement,
    private readonly listener: Listener,
    /** Next instant at which something happens, if that is known, in µs. */
    private readonly nextActivity: (afterUs: number) => number | null,
  ) {
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Problem("internal", "this browser gives no canvas");
    this.context = context;
  }

  get startUs(): number {
    return this.recording.chunks[0]?.startUs ?? 0;
  }

  get endUs(): number {
    return this.recording.chunks.at(-1)?.endUs ?? 0;
  }

  get ended(): boolean {
    return this.nowUs >= this.endUs;
  }

  play(): void {
    if (this.playing) return;
    if (this.ended) void this.seek(this.startUs);
    this.playing = true;
    this.last = performance.now();
    requestAnimationFrame(this.tick);
    this.listener.state();
  }

  pause(): void {
    this.playing = false;
    this.listener.state();
  }

  /** Shows the instant `timeUs`. Of several calls at once, only the last one counts. */
  seek(timeUs: number): Promise<void> {
    this.wanted = Math.round(Math.min(Math.max(timeUs, this.startUs), this.endUs));
    this.stuck = false;
    this.seeking ??= this.seekAll().finally(() => {
      this.seeking = null;
      this.waiting = false;
      this.last = performance.now();
      this.listener.state();
    });
    return this.seeking;
  }

  private async seekAll(): Promise<void> {
    while (this.wanted !== null) {
      const target = this.wanted;
      this.nowUs = target;
      this.listener.frame(target);
      try {
        for (;;) {
          const needed = this.recording.replay.seek(target);
          if (needed === undefined) break;
          await this.load(needed);
          if (this.wanted !== target) break;
        }
        if (this.wanted !== target) continue;
        this.wanted = null;
        this.paint();
        this.overlay(true);
        this.listener.frame(target);
        this.ahead();
      } catch (error) {
        if (this.wanted === target) this.wanted = null;
        this.fail(error, this.recording.replay.chunk_at(target));
      }
    }
  }

  private readonly tick = (time: number): void => {
    if (!this.playing) return;
    // A tab in the background gets no frames: the recording stands still meanwhile.
    const passed = Math.min(time - this.last, 250);
    this.last = time;
    if (!this.seeking && !this.waiting) this.step(Math.max(0, passed) * 1000 * this.speed);
    requestAnimationFrame(this.tick);
  };

  private step(us: number): void {
    const target = Math.min(this.nowUs + us, this.endUs);
    if (this.skipIdle) {
      const next = this.nextActivity(this.nowUs);
      if (next !== null && next - this.nowUs > IDLE_US + LEAD_US) {
        this.listener.skipped(next - LEAD_US - this.nowUs);
        void this.seek(next - LEAD_US);
        return;
      }
    }
    this.advance(target);
    if (this.ended && !this.stuck) this.pause();
  }

  private advance(target: number): void {
    const { replay } = this.recording;
    try {
      const needed = replay.advance(target);
      this.paint();
      this.overlay(false);
      this.nowUs = replay.now_us();
      this.listener.frame(this.nowUs);
      if (needed === undefined) this.ahead();
      else {
        this.wait(true);
        void this.load(needed)
          .catch((error: unknown) => this.fail(error, needed))
          .finally(() => this.wait(false));
      }
    } catch (error) {
      this.fail(error, replay.chunk_at(target));
    }
  }

  private ahead(): void {
    const { replay, chunks } = this.recording;
    const next = replay.chunk_at(this.nowUs) + 1;
    const chunk = chunks[next];
    if (chunk && chunk.startUs - this.nowUs < AHEAD_US * Math.max(1, this.speed) && !replay.is_loaded(next)) {
      // If it fails, playing will come to it and say so.
      this.load(next).catch(() => undefined);
    }
  }

  private load(index: number): Promise<void> {
    let load = this.loading.get(index);
    if (!load) {
      load = this.fetch(index).finally(() => this.loading.delete(index));
      this.loading.set(index, load);
    }
    return load;
  }

  private async fetch(index: number): Promise<void> {
    const { replay, source, chunks, info } = this.recording;
    const chunk = chunks[index];
    if (!chunk) throw new Problem("internal", `there is no chunk ${index}`);
    const patience = setTimeout(() => this.wait(true), 150);
    try {
      const bytes = await source.read(chunk.offset, chunk.length);
      replay.load(index, bytes);
      this.listener.proven(index);
    } catch (error) {
      throw Problem.of(error, index + info.first);
    } finally {
      clearTimeout(patience);
    }
  }

  private wait(waiting: boolean): void {
    if (this.waiting === waiting) return;
    this.waiting = waiting;
    this.last = performance.now();
    this.listener.state();
  }

  private fail(error: unknown, chunk: number): void {
    this.stuck = true;
    this.playing = false;
    this.listener.problem(Problem.of(error, chunk + this.recording.info.first));
    this.listener.state();
  }

  private paint(): void {
    const { replay, memory } = this.recording;
    const [width, height] = [replay.width(), replay.height()];
    const dirty = replay.dirty();
    if (width === 0) return;
    let [x = 0, y = 0, w = 0, h = 0] = dirty;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      [x, y, w, h] = [0, 0, width, height];
    }
    if (w === 0) return;
    // Made anew each time: wasm memory moves when it grows.
    const pixels = new Uint8ClampedArray(memory.buffer as ArrayBuffer, replay.frame(), width * height * 4);
    this.context.putImageData(new ImageData(pixels, width, height), 0, 0, x, y, w, h);
  }

  private overlay(fresh: boolean): void {
    const events = JSON.parse(this.recording.replay.events()) as Shown[];
    if (fresh || events.length > 0) this.listener.events(events, fresh);
  }
}

import type { Chunk } from "./recording";
import { clock } from "./time";

/** How a chunk stands: not looked at, proven, or not what was sealed. */
export type Mark = "pending" | "ok" | "bad";

/** The seek bar: a heat map of activity, and below it a mark for each chunk. */
export class Timeline {
  readonly marks: Mark[];
  private readonly activity: (Uint32Array | null)[];
  private readonly canvas: HTMLCanvasElement;
  private readonly needle: HTMLElement;
  private readonly tip: HTMLElement;
  private nowUs = 0;
  private scheduled = false;

  constructor(
    private readonly root: HTMLElement,
    private readonly chunks: Chunk[],
    private readonly first: number,
    private readonly seek: (us: number) => void,
  ) {
    this.canvas = root.querySelector("canvas")!;
    this.needle = root.querySelector(".needle")!;
    this.tip = root.querySelector(".tip")!;
    this.marks = chunks.map(() => "pending");
    this.activity = chunks.map(() => null);
    new ResizeObserver(() => this.draw()).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.listen();
    root.setAttribute("aria-valuemin", String(Math.floor(this.startUs / 1e6)));
    root.setAttribute("aria-valuemax", String(Math.floor(this.endUs / 1e6)));
    this.draw();
  }

  private get startUs(): number {
    return this.chunks[0]?.startUs ?? 0;
  }

  private get endUs(): number {
    return this.chunks.at(-1)?.endUs ?? 0;
  }

  private get spanUs(): number {
    return Math.max(1, this.endUs - this.startUs);
  }

  mark(chunk: number, mark: Mark): void {
    // A fault stays, whatever is found later.
    if (this.marks[chunk] !== "bad") this.marks[chunk] = mark;
    this.draw();
  }

  /** Events in each second of a chunk. */
  heat(chunk: number, activity: Uint32Array): void {
    if (activity.length > 0) this.activity[chunk] = activity;
    this.draw();
  }

  /** The next second with something in it at or after `us`; `us` itself where that is not known yet; null at the end. */
  nextActivity(us: number): number | null {
    for (let i = Math.max(0, this.chunkAt(us)); i < this.chunks.length; i++) {
      const [chunk, counts] = [this.chunks[i]!, this.activity[i]];
      if (!counts) return Math.max(us, chunk.startUs);
      const from = Math.max(0, Math.floor((us - chunk.startUs) / 1e6));
      for (let s = from; s < counts.length; s++) {
        if (counts[s]! > 0) return Math.max(us, chunk.startUs + s * 1e6);
      }
    }
    return this.endUs;
  }

  chunkAt(us: number): number {
    let [low, high] = [0, this.chunks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.chunks[middle]!.startUs <= us) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  show(nowUs: number): void {
    this.nowUs = nowUs;
    this.needle.style.left = `${((nowUs - this.startUs) / this.spanUs) * 100}%`;
    const seconds = String(Math.floor(nowUs / 1e6));
    if (this.root.getAttribute("aria-valuenow") !== seconds) {
      this.root.setAttribute("aria-valuenow", seconds);
      this.root.setAttribute("aria-valuetext", `${clock(nowUs, this.endUs)} of ${clock(this.endUs)}`);
    }
    this.draw();
  }

  private listen(): void {
    const at = (event: PointerEvent) => {
      const box = this.root.getBoundingClientRect();
      const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      return this.startUs + part * this.spanUs;
    };
    let dragging = false;
    this.root.addEventListener("pointerdown", (event) => {
      dragging = true;
      this.root.setPointerCapture(event.pointerId);
      this.seek(at(event));
    });
    this.root.addEventListener("pointermove", (event) => {
      if (dragging) this.seek(at(event));
      this.explain(at(event));
    });
    for (const type of ["pointerup", "pointercancel"]) this.root.addEventListener(type, () => (dragging = false));
    this.root.addEventListener("pointerleave", () => (this.tip.hidden = true));
    this.root.addEventListener("keydown", (event) => {
      const step = { PageUp: 60e6, PageDown: -60e6 }[event.key];
      const to = { Home: this.startUs, End: this.endUs }[event.key];
      if (step === undefined && to === undefined) return;
      event.preventDefault();
      this.seek(to ?? this.nowUs + (step ?? 0));
    });
  }

  private explain(us: number): void {
    const chunk = this.chunkAt(us);
    const state = { pending: "not verified yet", ok: "✓ verified", bad: "✕ does not verify" }[this.marks[chunk] ?? "pending"];
    this.tip.textContent = `${clock(us, this.endUs)}\nchunk ${chunk + this.first} ${state}`;
    this.tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const half = this.tip.offsetWidth / 2;
    const x = ((us - this.startUs) / this.spanUs) * box.width;
    this.tip.style.left = `${Math.min(box.width - half, Math.max(half, x))}px`;
  }

  private draw(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.paint();
    });
  }

  private paint(): void {
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(this.root.clientWidth * scale), Math.round(this.root.clientHeight * scale)];
    if (width === 0) return;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const context = this.canvas.getContext("2d");
    if (!context) return;
    const style = getComputedStyle(this.root);
    const color = (name: string) => style.getPropertyValue(name).trim();
    const px = (us: number) => ((us - this.startUs) / this.spanUs) * width;
    context.clearRect(0, 0, width, height);

    // Activity: one column for each two pixels, as high as the logarithm of its events.
    const [heatHeight, gap] = [Math.round(34 * scale), Math.round(5 * scale)];
    const columns = this.columns(Math.max(1, Math.floor(width / (3 * scale))));
    const most = Math.log1p(Math.max(8, ...columns));
    context.fillStyle = color("--track");
    context.fillRect(0, heatHeight - scale, width, scale);
    const column = width / columns.length;
    const played = px(this.nowUs);
    for (const [i, count] of columns.entries()) {
      if (count === 0) continue;
      const tall = Math.max(2 * scale, (Math.log1p(count) / most) * (heatHeight - 2 * scale));
      context.fillStyle = i * column < played ? color("--accent") : color("--heat");
      context.globalAlpha = i * column < played ? 1 : 0.6;
      context.fillRect(i * column, heatHeight - tall, Math.max(1, column - scale), tall);
    }
    context.globalAlpha = 1;

    // Chunks: a full bar is proven, a thin line is not looked at yet, a tall one with a notch is not what was sealed.
    const [top, tall] = [heatHeight + gap, Math.round(6 * scale)];
    for (const [i, chunk] of this.chunks.entries()) {
      const [x, end] = [px(chunk.startUs), px(this.chunks[i + 1]?.startUs ?? this.endUs)];
      const space = end - x > 4 * scale ? scale : 0;
      const w = Math.max(1, end - x - space);
      const mark = this.marks[i];
      if (mark === "ok") {
        context.fillStyle = color("--ok");
        context.fillRect(x, top, w, tall);
      } else if (mark === "bad") {
        context.fillStyle = color("--bad");
        const wide = Math.max(w, 5 * scale);
        context.fillRect(x, top - gap, wide, tall + 2 * gap);
        context.fillStyle = color("--surface");
        context.fillRect(x + wide / 2 - scale, top - gap, 2 * scale, tall);
      } else {
        context.fillStyle = color("--muted");
        context.globalAlpha = 0.45;
        context.fillRect(x, top + tall / 2 - scale / 2, w, scale);
        context.globalAlpha = 1;
      }
    }
  }

  /** Events by column; where they are not known yet, none. */
  private columns(count: number): Float64Array {
    const columns = new Float64Array(count);
    for (const [i, counts] of this.activity.entries()) {
      const start = this.chunks[i]!.startUs;
      counts?.forEach((n, second) => {
        const at = Math.floor(((start + second * 1e6 - this.startUs) / this.spanUs) * count);
        const column = Math.min(count - 1, at);
        columns[column]! += n;
      });
    }
    return columns;
  }
}

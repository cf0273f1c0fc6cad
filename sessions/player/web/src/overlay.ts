import type { Shown } from "./playback";

/** How long things stay on the screen, in µs of the recording. */
const STAYS = { text: 3.5e6, chord: 3.5e6, click: 0.7e6, "clipboard-in": 6e6, "clipboard-out": 6e6, marker: 6e6 };
const TITLES = { "clipboard-in": "Pasted to the desktop", "clipboard-out": "Copied from the desktop", marker: "Recorder" };
/** A pause in typing that begins a new chip. */
const PAUSE_US = 1.2e6;

interface Item {
  kind: Shown["kind"];
  text: string;
  sinceUs: number;
  untilUs: number;
}

/** Keys, clipboard content and the recorder's remarks, over the screen. */
export class Overlay {
  visible = true;
  private items: Item[] = [];
  private drawn = "";

  constructor(
    private readonly keys: HTMLElement,
    private readonly notes: HTMLElement,
    private readonly ripples: HTMLElement,
    /** Size of the recorded screen. */
    private readonly size: () => [number, number],
  ) {}

  add(events: Shown[], fresh: boolean, nowUs: number): void {
    if (fresh) this.items = [];
    for (const event of events) {
      const last = this.items.findLast((item) => item.kind === "text" || item.kind === "chord");
      const untilUs = event.timeUs + STAYS[event.kind];
      if (event.kind === "click") {
        if (nowUs - event.timeUs < STAYS.click) this.ripple(event);
      } else if (event.kind === "text" && last?.kind === "text" && event.timeUs < last.untilUs - STAYS.text + PAUSE_US) {
        last.text += event.text;
        last.untilUs = untilUs;
      } else {
        this.items.push({ kind: event.kind, text: event.text, sinceUs: event.timeUs, untilUs });
      }
    }
  }

  draw(nowUs: number): void {
    this.items = this.items.filter((item) => item.untilUs > nowUs);
    const keys = this.items.filter((item) => item.kind === "text" || item.kind === "chord").slice(-8);
    const notes = this.items.filter((item) => item.kind in TITLES).slice(-3);
    const drawn = JSON.stringify([this.visible, keys, notes]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.keys.replaceChildren(...(this.visible ? keys.map(chip) : []));
    this.notes.replaceChildren(...(this.visible ? notes.map(note) : []));
  }

  private ripple({ x, y }: Shown): void {
    const [width, height] = this.size();
    if (!this.visible || x === null || y === null || width === 0) return;
    const ring = document.createElement("span");
    ring.className = "ripple";
    ring.style.left = `${(x / width) * 100}%`;
    ring.style.top = `${(y / height) * 100}%`;
    this.ripples.append(ring);
    setTimeout(() => ring.remove(), 600);
  }
}

function chip(item: Item): HTMLElement {
  const chip = document.createElement("span");
  chip.className = `key ${item.kind}`;
  chip.textContent = item.text.length > 60 ? `…${item.text.slice(-60)}` : item.text;
  return chip;
}

function note(item: Item): HTMLElement {
  const note = document.createElement("div");
  note.className = "note";
  const [title, text] = [document.createElement("b"), document.createElement("span")];
  title.textContent = TITLES[item.kind as keyof typeof TITLES];
  text.textContent = item.text;
  note.append(title, text);
  return note;
}

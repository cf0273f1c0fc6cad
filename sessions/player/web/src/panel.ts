import type { Anchor, Info } from "./recording";
import type { Mark } from "./timeline";
import { size, span, wall, zone } from "./time";

type State = Mark | "warn";

const ICONS: Record<State, string> = { pending: "", ok: "i-check", bad: "i-cross", warn: "i-alert" };

/** How far verification came. */
export interface Tally {
  ok: number;
  bad: number;
  of: number;
  /** Every chunk was looked at. */
  done: boolean;
  /** Chunks are opened too, not only checked. */
  opened: boolean;
}

/** The verification panel and the pill in the head that sums it up. */
export class Panel {
  private anchor: [State, string, string] | null = null;

  constructor(
    private readonly proofs: HTMLElement,
    private readonly facts: HTMLElement,
    private readonly status: HTMLElement,
    private readonly statusText: HTMLElement,
  ) {}

  show(info: Info, tally: Tally): void {
    this.proofs.replaceChildren(
      ...[...proofs(info, tally), ...(this.anchor ? [this.anchor] : [])].map(([state, title, text]) => {
        const item = document.createElement("li");
        item.dataset["state"] = state;
        const mark = document.createElement("span");
        mark.className = "mark";
        if (ICONS[state]) mark.append(icon(ICONS[state]));
        const words = document.createElement("div");
        const [b, small] = [document.createElement("b"), document.createElement("small")];
        b.textContent = title;
        small.textContent = text;
        words.append(b, small);
        item.append(mark, words);
        return item;
      }),
    );
    this.sum(info, tally);
  }

  /** What the proof file shows; from the next [show] on. */
  anchored({ height, time, closed, openedHeight, openedTime, pieces, open }: Anchor): void {
    const at = (s: number) => `${wall(s * 1e6)} ${zone(s * 1e6)}`;
    const blocks = new Set(pieces.map((piece) => piece.height)).size;
    const fixed = `Opened in block ${openedHeight}, ${at(openedTime)}; its parts were fixed by ${blocks} block${blocks === 1 ? "" : "s"}.`;
    this.anchor = closed
      ? ["ok", `Anchored: block ${height}, ${at(time)}`, fixed]
      : ["warn", `Anchored, open in block ${height}, ${at(time)}`, `${fixed} The last ${open} chunks are not anchored.`];
  }

  /** The proof file does not hold, or not for this recording; from the next [show] on. */
  notAnchored(text: string): void {
    this.anchor = ["bad", "Not anchored", text];
  }

  /** Facts of the session; they do not change. */
  describe(info: Info): void {
    const rows: [string, string, boolean?][] = [
      ["User", info.user],
      ["Target", info.target],
      ["Client", info.client],
      ["Started", `${wall(info.startedUs)} ${zone(info.startedUs)}`],
      ["Ended", `${wall(info.startedUs + info.durationUs)} ${zone(info.startedUs)}`],
      ["Duration", span(info.durationUs)],
      ["Reason", info.reason],
      ["Size", `${size(info.chunkBytes)} in ${info.chunks} chunks`],
      ["Recorder", info.recorder],
      ["Session", info.session, true],
      ["Host key", info.hostKey, true],
      ["Root", info.root, true],
    ];
    this.facts.replaceChildren(
      ...rows
        .filter(([, text]) => text !== "")
        .flatMap(([name, text, mono]) => {
          const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
          dt.textContent = name;
          dd.textContent = text;
          if (mono) dd.className = "mono";
          return [dt, dd];
        }),
    );
  }

  /** The pill when nothing could be opened. */
  fault(text: string): void {
    this.status.dataset["state"] = "bad";
    this.statusText.textContent = text;
    swap(this.status, "i-alert");
  }

  private sum(info: Info, tally: Tally): void {
    let [state, text]: [string, string] = ["busy", `Verifying ${tally.ok} / ${tally.of}`];
    if (tally.bad > 0) [state, text] = ["bad", faults(tally)];
    else if (this.anchor?.[0] === "bad") [state, text] = ["bad", this.anchor[1]];
    else if (tally.done && tally.ok === tally.of) {
      if (info.cut) [state, text] = ["warn", "Verified, cut"];
      else [state, text] = ["ok", info.disclosure ? "Verified part" : "Verified, complete"];
    }
    this.status.dataset["state"] = state;
    this.statusText.textContent = text;
    swap(this.status, state === "bad" || state === "warn" ? "i-alert" : "i-shield");
  }
}

function faults({ bad, of }: Tally): string {
  return `${bad} of ${of} chunks ${bad === 1 ? "does" : "do"} not verify`;
}

function proofs(info: Info, tally: Tally): [State, string, string][] {
  const { ok, bad, of } = tally;
  const all = ok === of && of > 0;
  const chunks: State = bad > 0 ? "bad" : all ? "ok" : "pending";
  const list: [State, string, string][] = [
    ["ok", "Signature", `The manifest was signed by ${info.cut ? "the host" : "the session's one-time key"}, which the host's ticket names.`],
    ["ok", "Merkle root", "The addresses of all chunks lead to the signed root: none is missing, added or moved."],
    [
      chunks,
      bad > 0 ? faults(tally) : `${ok} of ${of} chunks verified`,
      bad > 0
        ? `${ok} are as they were sealed; the others were changed and are not shown.`
        : tally.opened
        ? "Each chunk's hash, place and order match, and it was opened and authenticated."
        : "Each chunk's hash, place and order match. Without a key they stay closed.",
    ],
  ];
  if (info.disclosure) {
    list.push(["ok", "Part of a session", `Chunks ${info.first} to ${info.first + info.held - 1} of ${info.chunks}, with their keys and no others.`]);
  } else if (info.cut) {
    list.push(["warn", "Cut", "The recorder stopped without closing the session. What is here is genuine; the end may be missing."]);
  } else {
    list.push([chunks, bad > 0 ? "Not complete" : "Complete", "From the first record to the end of the session."]);
  }
  return list;
}

/** An icon of the sprite in index.html. */
export function icon(name: string): SVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

/** Shows another icon in `element`. */
export function swap(element: HTMLElement, name: string): void {
  element.querySelector("use")?.setAttribute("href", `#${name}`);
}

import init, { Opener, type InitOutput, type Replay, footer_len, locate, preamble_len } from "./wasm/lucid_player_wasm";
import { Problem } from "./problem";
import { Source } from "./source";

/** What the recording says of itself, proven by its signatures. Times in µs. */
export interface Info {
  session: string;
  user: string;
  target: string;
  client: string;
  recorder: string;
  hostKey: string;
  sessionKey: string;
  root: string;
  reason: string;
  startedUs: number;
  sealedUs: number;
  durationUs: number;
  chunkBytes: number;
  /** Chunks of the session. */
  chunks: number;
  /** Position in the session of this file's first chunk. */
  first: number;
  /** Chunks in this file. */
  held: number;
  cut: boolean;
  disclosure: boolean;
  shredded: boolean;
  unlocked: boolean;
}

/** When the recording was anchored, proven by a proof file. Times in s since the Unix epoch. */
export interface Anchor {
  /** Block of the closing; of a session that was open still, the block that was looked at. */
  height: number;
  time: number;
  closed: boolean;
  openedHeight: number;
  openedTime: number;
  owner: string;
  opener: string;
  pieces: { first: number; last: number; height: number; time: number }[];
  /** Chunks at the end that no block fixes. */
  open: number;
}

/** Where a chunk is in the file and in time. */
export interface Chunk {
  offset: number;
  length: number;
  startUs: number;
  endUs: number;
  keyframe: boolean;
}

/** What opens a recording. */
export type Key = { seed: Uint8Array } | { file: string; passphrase: string };

/** An opened recording: its index and signatures were checked. */
export interface Recording {
  source: Source;
  replay: Replay;
  memory: WebAssembly.Memory;
  info: Info;
  chunks: Chunk[];
}

let wasm: Promise<InitOutput> | undefined;

/** Opens the recording at `url`. Reads about as many bytes as its index has. */
export async function open(url: string): Promise<Recording> {
  wasm ??= init();
  const { memory } = await wasm;
  try {
    const { source, start } = await Source.open(url, preamble_len());
    const footer = await source.read(Math.max(0, source.length - footer_len()), Math.min(footer_len(), source.length));
    const [offset = 0, length = 0] = locate(source.length, start, footer);
    const opener = new Opener(source.length, await source.read(offset, length));
    const at = opener.sections();
    const parts: Uint8Array[] = [];
    for (let i = 0; i < at.length; i += 2) parts.push(await source.read(at[i] ?? 0, at[i + 1] ?? 0));
    const [head, manifest, wraps, keys, proof] = parts as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const replay = opener.open(head, manifest, wraps, keys, proof);
    return { source, replay, memory, info: JSON.parse(replay.info()) as Info, chunks: table(replay.chunks()) };
  } catch (error) {
    throw Problem.of(error);
  }
}

/** Takes a key; the first chunk shows whether it is the right one. */
export function unlock(replay: Replay, key: Key): void {
  try {
    if ("seed" in key) replay.unlock_with_seed(key.seed);
    else replay.unlock_with_key_file(key.file, key.passphrase);
  } catch (error) {
    throw Problem.of(error);
  }
}

/** Holds the recording against the proof that is served beside it. */
export async function anchor({ replay }: Recording, proof: string, genesis: string): Promise<Anchor> {
  const fetched = async (url: string) => {
    const response = await fetch(url, { cache: "no-store" });
    if (!response.ok) throw new Problem("network", `the server answered ${response.status} ${response.statusText}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  try {
    return JSON.parse(replay.anchor(await fetched(proof), await fetched(genesis))) as Anchor;
  } catch (error) {
    throw Problem.of(error);
  }
}

function table(numbers: Float64Array): Chunk[] {
  const chunks: Chunk[] = [];
  for (let i = 0; i + 4 < numbers.length; i += 5) {
    const [offset = 0, length = 0, startUs = 0, endUs = 0, keyframe = 0] = numbers.subarray(i, i + 5);
    chunks.push({ offset, length, startUs, endUs, keyframe: keyframe === 1 });
  }
  return chunks;
}

/// <reference lib="webworker" />
// Proves every chunk of the recording in the background, one after another, while the page plays.
import { Problem } from "./problem";
import { type Key, open, unlock } from "./recording";

/** What the page asks for. */
export interface Order {
  url: string;
  key: Key | null;
}

/** What the page is told: one chunk was proven, with the number of events in each of its seconds; or not; or all were. */
export type Report =
  | { chunk: number; activity: Uint32Array }
  | { chunk: number; problem: { kind: string; message: string } }
  | { done: true; problem?: { kind: string; message: string } };

const tell = (report: Report) => postMessage(report);
const plain = (problem: Problem) => ({ kind: problem.kind, message: problem.message });

onmessage = async ({ data }: MessageEvent<Order>) => {
  try {
    const { source, replay, chunks } = await open(data.url);
    if (data.key) unlock(replay, data.key);
    for (const [chunk, { offset, length }] of chunks.entries()) {
      const bytes = await source.read(offset, length);
      try {
        tell({ chunk, activity: replay.check(chunk, bytes) });
      } catch (error) {
        tell({ chunk, problem: plain(Problem.of(error)) });
      }
    }
    tell({ done: true });
  } catch (error) {
    tell({ done: true, problem: plain(Problem.of(error)) });
  }
};

import { Failure } from "./wasm/lucid_player_wasm";

/** Something the viewer has to know: a kind that the page has words for, and one line of detail. */
export class Problem extends Error {
  constructor(
    readonly kind: string,
    message: string,
    /** The chunk it is about, counted as in the session. */
    readonly chunk?: number,
  ) {
    super(message);
  }

  static of(error: unknown, chunk?: number): Problem {
    if (error instanceof Problem) return error;
    if (error instanceof Failure) {
      const problem = new Problem(error.kind, error.message, chunk);
      error.free();
      return problem;
    }
    return new Problem("internal", error instanceof Error ? error.message : String(error), chunk);
  }
}

/** What to say about a kind of problem: a title, and what can be done. */
export function words(problem: Problem): { title: string; advice: string } {
  const chunk = problem.chunk === undefined ? "This recording" : `Chunk ${problem.chunk}`;
  switch (problem.kind) {
    case "tampered":
      return {
        title: `${chunk} was changed`,
        advice: "What is in the file is not what was sealed. It must not be used as evidence; compare it with another copy.",
      };
    case "truncated":
      return {
        title: "This recording is cut short",
        advice: "The end of the file is missing. Fetch it again from where it came.",
      };
    case "version":
      return { title: "Unsupported version", advice: "This recording was made by a newer Lucid. Open it with that version." };
    case "wrong-key":
      return { title: "This key does not open it", advice: "Check the passphrase, or use the key this recording was sealed to." };
    case "no-key":
      return { title: "No key for this recording", advice: "It can be verified, not watched. Ask one of its recipients to disclose it." };
    case "cannot-show":
      return {
        title: "This part cannot be shown",
        advice: "The bytes are those that were recorded, but they cannot be drawn exactly, and the player does not guess.",
      };
    case "network":
      return { title: "The recording cannot be read", advice: "Start `lucid replay` again and reload this page." };
    case "malformed":
      return { title: "This is not a Lucid recording", advice: "The file does not follow the format. Check that it is the right one." };
    default:
      return { title: "The player failed", advice: "Reload the page. If it happens again, report it with the text below." };
  }
}

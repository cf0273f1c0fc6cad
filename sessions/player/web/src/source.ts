import { Problem } from "./problem";

/** A file on the server, read piece by piece with HTTP Range: a long recording is never fetched whole. */
export class Source {
  private constructor(
    private readonly url: string,
    readonly length: number,
  ) {}

  /** Asks for the file's first bytes and learns its length. */
  static async open(url: string, first: number): Promise<{ source: Source; start: Uint8Array }> {
    const response = await get(url, 0, first);
    const total = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (response.status !== 206 || total === undefined) {
      throw new Problem("network", "the server does not hand out parts of the recording (HTTP Range)");
    }
    return { source: new Source(url, Number(total)), start: await bytes(response) };
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array();
    const response = await get(this.url, offset, length);
    const found = await bytes(response);
    if (response.status !== 206 || found.length !== length) {
      throw new Problem("network", `the server sent ${found.length} of ${length} bytes: is the file still there?`);
    }
    return found;
  }
}

async function get(url: string, offset: number, length: number): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { range: `bytes=${offset}-${offset + length - 1}` }, cache: "no-store" });
  } catch {
    throw new Problem("network", "the server does not answer: is `lucid replay` still running?");
  }
  // An empty file has no range to give.
  if (response.status === 416) throw new Problem("truncated", "the recording is empty");
  if (!response.ok) throw new Problem("network", `the server answered ${response.status} ${response.statusText}`);
  return response;
}

async function bytes(response: Response): Promise<Uint8Array> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch {
    throw new Problem("network", "the connection broke while the recording was read");
  }
}

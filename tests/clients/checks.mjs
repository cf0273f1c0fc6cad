// What the scripts share: arguments, one line a check, contracts, and a Merkle-Patricia proof checker of their own.
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { concat, hexToBytes, bytesToHex, fromRlp, keccak256 } from "viem";

const [, script, url, key, artifacts] = process.argv;
if (!url || !key || !artifacts) {
  console.error(`usage: node ${script} RPC_URL FUNDED_PRIVATE_KEY ARTIFACTS_FOLDER`);
  process.exit(2);
}

export const RPC = url;
export const WS = url.replace(/^http/, "ws");
export const KEY = key.startsWith("0x") ? key : `0x${key}`;

/** Addresses of the genesis contracts. */
export const CONTRACTS = Object.fromEntries(
  ["LucidAnchors", "LucidChunkStore", "LucidGovernor", "Timelock", "ParamRegistry", "SignerRegistry", "WorkCredits", "LUCID"].map(
    (name, index) => [name, `0x${(0x4c0001 + index).toString(16).padStart(40, "0")}`],
  ),
);

/** A contract's ABI from its artifact, wherever in the folder that is. */
export function abiOf(name) {
  const find = (folder) => {
    const direct = join(folder, `${name}.json`);
    if (existsSync(direct)) return direct;
    for (const entry of readdirSync(folder)) {
      const path = join(folder, entry);
      if (statSync(path).isDirectory()) {
        const found = find(path);
        if (found) return found;
      }
    }
    return undefined;
  };
  const path = find(artifacts);
  if (!path) throw new Error(`no artifact of ${name} in ${artifacts}`);
  const artifact = JSON.parse(readFileSync(path, "utf8"));
  return Array.isArray(artifact) ? artifact : artifact.abi;
}

let client = "";
let count = 0;
/** Names the client in the lines that follow. */
export function using(name) {
  client = name;
}

/** Runs one check and prints its line; the first that fails ends the program. */
export async function check(name, body) {
  const start = Date.now();
  try {
    const note = await body();
    count += 1;
    console.log(`ok      ${client}: ${name}${note ? ` (${note})` : ""} ${Date.now() - start} ms`);
  } catch (error) {
    console.log(`FAILED  ${client}: ${name}`);
    console.error(error);
    process.exit(1);
  }
}

export function finish() {
  console.log(`${client}: ${count} checks passed`);
  process.exit(0);
}

export function equal(found, expected, what) {
  const text = (value) => JSON.stringify(value, (_, v) => (typeof v === "bigint" ? v.toString() : v));
  if (text(found) !== text(expected)) throw new Error(`${what}: ${text(found)} instead of ${text(expected)}`);
}

export function ensure(condition, what) {
  if (!condition) throw new Error(what);
}

/** Fails when `promise` takes longer than this. */
export function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** One raw JSON-RPC call: the whole answer. */
export async function raw(method, params = [], to = RPC) {
  const response = await fetch(to, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
  });
  return response.json();
}

/** One raw JSON-RPC call that has to succeed. */
export async function ask(method, params = [], to = RPC) {
  const answer = await raw(method, params, to);
  if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
}

/** Fields every Ethereum client may read of a block (Prague). */
export const BLOCK_FIELDS = [
  "number", "hash", "parentHash", "nonce", "sha3Uncles", "logsBloom", "transactionsRoot", "stateRoot", "receiptsRoot", "miner",
  "difficulty", "extraData", "size", "gasLimit", "gasUsed", "timestamp", "transactions", "uncles", "mixHash", "baseFeePerGas",
  "withdrawalsRoot", "withdrawals", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot", "requestsHash",
];

const nibblesOf = (hex) => [...hex.slice(2)].map((digit) => parseInt(digit, 16));

/**
 * Walks a proof of `eth_getProof` from `root` along keccak(`key`).
 * @returns the value there (RLP), or undefined if the proof shows that there is none.
 */
export function walkProof(root, key, proof) {
  if (proof.length === 0) {
    equal(root, keccak256("0x80"), "root of an empty tree");
    return undefined;
  }
  const path = nibblesOf(keccak256(key));
  let expected = root;
  for (const [index, node] of proof.entries()) {
    equal(keccak256(node), expected, `hash of proof node ${index}`);
    let items = fromRlp(node);
    for (;;) {
      let next;
      if (items.length === 17) {
        if (path.length === 0) return items[16] === "0x" ? undefined : items[16];
        next = items[path.shift()];
      } else {
        const encoded = nibblesOf(items[0]);
        const flags = encoded[0];
        const rest = encoded.slice(flags & 1 ? 1 : 2);
        const here = path.splice(0, rest.length);
        if (rest.join() !== here.join()) return undefined;
        if (flags >= 2) return path.length === 0 ? items[1] : undefined;
        next = items[1];
      }
      if (next === "0x") return undefined;
      if (Array.isArray(next)) {
        items = next;
        continue;
      }
      expected = next;
      break;
    }
  }
  throw new Error("the proof ends before its key does");
}

/** Checks an answer of `eth_getProof` against a state root. */
export function verifyProof(stateRoot, proof) {
  const account = walkProof(stateRoot, proof.address, proof.accountProof);
  ensure(account !== undefined, "the account is in the state");
  const [nonce, balance, storageHash, codeHash] = fromRlp(account);
  const number = (hex) => (hex === "0x" ? 0n : BigInt(hex));
  equal(number(nonce), BigInt(proof.nonce), "proven nonce");
  equal(number(balance), BigInt(proof.balance), "proven balance");
  equal(storageHash, proof.storageHash, "proven storage root");
  equal(codeHash, proof.codeHash, "proven code hash");
  for (const slot of proof.storageProof) {
    const padded = `0x${BigInt(slot.key).toString(16).padStart(64, "0")}`;
    const value = walkProof(storageHash, padded, slot.proof);
    equal(value === undefined ? 0n : number(fromRlp(value)), BigInt(slot.value), `proven slot ${slot.key}`);
  }
}

/** 32 random bytes. */
export function random32() {
  return bytesToHex(crypto.getRandomValues(new Uint8Array(32)));
}

export { concat, hexToBytes, keccak256 };

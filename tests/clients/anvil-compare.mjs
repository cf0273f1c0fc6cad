// The same signed transactions on a Lucid chain and in anvil: node anvil-compare.mjs RPC_URL FUNDED_PRIVATE_KEY ARTIFACTS_FOLDER
//
// Contracts cannot be deployed on a Lucid chain, so anvil takes the state from there: for each transaction it forks the block
// before the one that has it (it reads code, storage and balances through JSON-RPC as it needs them), is given the block's time,
// base fee, number and proposer, and runs the same bytes. Status, gas, logs, price, what was paid and every storage slot that
// anvil saw change must be the same; so must the return data of calls.
//
// Not compared: what the proposer gets and what WorkCredits notes when a block closes a slot. A Lucid block begins, and at a seal
// ends, with calls of the system's own, which anvil knows nothing of.
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { createPublicClient, defineChain, encodeFunctionData, http, keccak256, parseEther, parseSignature, toHex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { CONTRACTS, KEY, RPC, abiOf, ask, check, ensure, equal, finish, random32, using } from "./checks.mjs";

using("anvil");
const chainId = Number(await ask("eth_chainId"));
const chain = defineChain({ id: chainId, name: "Lucid", nativeCurrency: { name: "Lucid", symbol: "LUCID", decimals: 18 }, rpcUrls: { default: { http: [RPC] } } });
const node = createPublicClient({ chain, transport: http(RPC), pollingInterval: 200 });
const account = privateKeyToAccount(KEY);
const other = privateKeyToAccount(generatePrivateKey());

const port = await new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port: free } = server.address();
    server.close(() => resolve(free));
  });
});
const anvilUrl = `http://127.0.0.1:${port}`;
const options = ["--fork-url", RPC, "--port", port, "--chain-id", chainId, "--hardfork", "prague", "--no-mining", "--silent", "--no-rate-limit", "--no-storage-caching", "--disable-code-size-limit", "--disable-min-priority-fee"];
const anvil = spawn(process.env.ANVIL ?? new URL("node_modules/.bin/anvil", import.meta.url).pathname, options.map(String), { stdio: ["ignore", "ignore", "inherit"], detached: true });
// npm's command starts the program as a child of its own: the whole group has to end.
process.on("exit", () => process.kill(-anvil.pid, "SIGKILL"));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
const there = (method, params = []) => ask(method, params, anvilUrl);

await check("anvil forks the chain", async () => {
  for (let tries = 0; ; tries += 1) {
    try {
      return await there("web3_clientVersion");
    } catch (error) {
      ensure(tries < 150, error.message);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
});

const hex = (number) => `0x${BigInt(number).toString(16)}`;
const onlyLogs = (logs) => logs.map(({ address, topics, data }) => ({ address: address.toLowerCase(), topics, data }));

/** Sends a transaction to the chain, waits, runs the same bytes in anvil, and compares. */
async function compare(sender, request) {
  const nonce = await node.getTransactionCount({ address: sender.address });
  const fees = request.gasPrice ? {} : { maxFeePerGas: 50_000_000_000n, maxPriorityFeePerGas: 1_000n };
  // LucidAnchors hashes the block's second, and anvil cannot make two blocks in one.
  const second = async () => Number((await ask("eth_getBlockByNumber", ["latest", false])).timestamp);
  while (Math.floor(Date.now() / 1_000) <= (await second())) await new Promise((resolve) => setTimeout(resolve, 50));
  const signed = await sender.signTransaction({ chainId, nonce, gas: 400_000n, value: 0n, ...fees, ...request });
  const hash = await ask("eth_sendRawTransaction", [signed]);
  equal(hash, keccak256(signed), "hash");
  await node.waitForTransactionReceipt({ hash, timeout: 60_000 });
  const ours = await ask("eth_getTransactionReceipt", [hash]);
  const block = await ask("eth_getBlockByNumber", [ours.blockNumber, false]);
  ensure(block.transactions.length === 1, "the block has this transaction only");
  const before = hex(BigInt(block.number) - 1n);

  await there("anvil_reset", [{ forking: { jsonRpcUrl: RPC, blockNumber: Number(before) } }]);
  await there("anvil_setNextBlockBaseFeePerGas", [block.baseFeePerGas]);
  await there("anvil_setCoinbase", [block.miner]);
  const parent = await ask("eth_getBlockByNumber", [before, false]);
  // anvil's blocks are a second apart at least.
  if (BigInt(block.timestamp) > BigInt(parent.timestamp)) await there("evm_setNextBlockTimestamp", [Number(block.timestamp)]);
  await there("eth_sendRawTransaction", [signed]);
  await there("evm_mine", []);
  const theirs = await there("eth_getTransactionReceipt", [hash]);
  ensure(theirs, "anvil mined it");
  for (const field of ["status", "gasUsed", "effectiveGasPrice", "blockNumber", "type", "transactionIndex", "from", "to", "contractAddress", "logsBloom"]) {
    equal(ours[field], theirs[field], field);
  }
  equal(onlyLogs(ours.logs), onlyLogs(theirs.logs), "logs");

  const { seal } = await ask("lucid_block", [ours.blockNumber]);
  const touched = await there("debug_traceTransaction", [hash, { tracer: "prestateTracer", tracerConfig: { diffMode: true } }]);
  let slots = 0;
  for (const [address, changed] of Object.entries(touched.post)) {
    const written = new Set([...Object.keys(changed.storage ?? {}), ...Object.keys(touched.pre[address]?.storage ?? {})]);
    if (seal && address === CONTRACTS.WorkCredits) continue;
    for (const slot of written) {
      const here = await ask("eth_getStorageAt", [address, slot, ours.blockNumber]);
      const its = await there("eth_getStorageAt", [address, slot, "latest"]);
      equal(here, its, `slot ${slot} of ${address}`);
      slots += 1;
    }
    if (address !== block.miner.toLowerCase() && address !== CONTRACTS.WorkCredits) {
      for (const method of ["eth_getBalance", "eth_getTransactionCount"]) {
        equal(await ask(method, [address, ours.blockNumber]), await there(method, [address, "latest"]), `${method} of ${address}`);
      }
    }
  }
  return { receipt: ours, note: `${ours.status === "0x1" ? "succeeds" : "fails"}, ${BigInt(ours.gasUsed)} gas, ${ours.logs.length} logs, ${slots} slots` };
}

/** Compares a transaction and says how it ended. */
function same(name, expected, request, sender = account) {
  return check(name, async () => {
    const { receipt, note } = await compare(sender, typeof request === "function" ? await request() : request);
    equal(receipt.status, expected, "status");
    return note;
  });
}
const OK = "0x1";
const FAILS = "0x0";
const call = (name, functionName, args = [], more = {}) => ({ to: CONTRACTS[name], data: encodeFunctionData({ abi: abiOf(name), functionName, args }), ...more });

await same("a transfer", OK, { to: other.address, value: parseEther("5"), gas: 21_000n });
await same("a transfer to a contract that takes none", FAILS, { to: CONTRACTS.LucidAnchors, value: 1n });
await same("data for an account: the floor price of calldata", OK, { to: other.address, data: toHex(new Uint8Array(1_000).fill(7)) });
await same("a legacy transaction", OK, { to: other.address, value: 1n, gas: 21_000n, gasPrice: 20_000_000_000n, type: "legacy" });

const session = [random32(), random32()];
const fields = () => [account.address, random32(), random32(), random32(), 3n];
await same("registerSession", OK, call("LucidAnchors", "registerSession", [session[0], ...fields()]));
await same("registerSession twice", FAILS, call("LucidAnchors", "registerSession", [session[0], ...fields()]));
await same("registerSession without enough gas", FAILS, call("LucidAnchors", "registerSession", [random32(), ...fields()], { gas: 30_000n }));
await same("registerSession with an access list", OK, call("LucidAnchors", "registerSession", [random32(), ...fields()], { accessList: [{ address: CONTRACTS.LucidAnchors, storageKeys: [random32()] }] }));
await same("openSession", OK, call("LucidAnchors", "openSession", [session[1], account.address, random32(), random32()]));
await same("checkpoint", OK, call("LucidAnchors", "checkpoint", [session[1], 2n, random32()]));
await same("checkpoint that grows", OK, call("LucidAnchors", "checkpoint", [session[1], 5n, random32()]));
await same("checkpoint that does not", FAILS, call("LucidAnchors", "checkpoint", [session[1], 5n, random32()]));
await same("checkpoint by a stranger", FAILS, call("LucidAnchors", "checkpoint", [session[1], 6n, random32()]), other);
await same("closeSession with too few chunks", FAILS, call("LucidAnchors", "closeSession", [session[1], random32(), random32(), 4n]));
await same("closeSession", OK, call("LucidAnchors", "closeSession", [session[1], random32(), random32(), 9n]));
await same("checkpointBatch, which notes the block's number and time", OK, call("LucidAnchors", "checkpointBatch", [random32(), 12]));

const chunks = (first, count, size, slots = 720n) => call("LucidChunkStore", "commitBatch", [session[0], first, Array.from({ length: count }, random32), Array.from({ length: count }, random32), Array(count).fill(size), slots], { value: parseEther("1"), gas: 3_000_000n });
await same("commitBatch of one chunk, what is too much comes back", OK, chunks(0n, 1, 1_000));
await same("commitBatch of the same chunk", FAILS, chunks(0n, 1, 1_000));
await same("commitBatch of a chunk above the governed size", FAILS, chunks(1n, 1, 4_000_000_000));
await same("commitBatch by a stranger", FAILS, chunks(1n, 1, 10), other);
await same("commitBatch for ever", FAILS, chunks(1n, 1, 10, 10n ** 9n));
await same("commitBatch", OK, chunks(1n, 8, 5_000));
await same("extend", OK, call("LucidChunkStore", "extend", [[1n, 2n], 720n], { value: parseEther("1"), gas: 1_000_000n }));
await same("custody taken by no node", FAILS, call("LucidChunkStore", "acceptCustody", [[1n]]));
await same("expire of what is paid for", OK, call("LucidChunkStore", "expire", [[1n]]));

await same("deposit of coins for tokens", OK, call("LUCID", "deposit", [], { value: parseEther("2") }));
await same("coins sent to the token", OK, { to: CONTRACTS.LUCID, value: parseEther("1") });
await same("transfer of tokens", OK, call("LUCID", "transfer", [other.address, parseEther("1")]));
await same("transfer of more than there is", FAILS, call("LUCID", "transfer", [other.address, parseEther("1000")]));
await same("approve", OK, call("LUCID", "approve", [other.address, 77n]));
await same("transferFrom", OK, call("LUCID", "transferFrom", [account.address, other.address, 70n]), other);
await same("transferFrom above the allowance", FAILS, call("LUCID", "transferFrom", [account.address, other.address, 8n]), other);
await same("withdraw to coins", OK, call("LUCID", "withdraw", [parseEther("0.5")]));
await same("permit, which recovers a signature", OK, async () => {
  const read = (functionName, args = []) => node.readContract({ address: CONTRACTS.LUCID, abi: abiOf("LUCID"), functionName, args });
  const [, name, version, domainChain, verifyingContract] = await read("eip712Domain");
  const message = { owner: account.address, spender: other.address, value: 5n, nonce: await read("nonces", [account.address]), deadline: 2n ** 60n };
  const types = { Permit: ["owner:address", "spender:address", "value:uint256", "nonce:uint256", "deadline:uint256"].map((field) => ({ name: field.split(":")[0], type: field.split(":")[1] })) };
  const { r, s, yParity } = parseSignature(await account.signTypedData({ domain: { name, version, chainId: Number(domainChain), verifyingContract }, types, primaryType: "Permit", message }));
  return call("LUCID", "permit", [message.owner, message.spender, message.value, message.deadline, 27 + yParity, r, s]);
}, other);
await same("a function that is not there", FAILS, { to: CONTRACTS.LUCID, data: "0xdeadbeef" });

await same("a parameter set by nobody", FAILS, call("ParamRegistry", "set", [toHex("maxChunkSize", { size: 32 }), 100_000n]));
await same("signers rotated by nobody", FAILS, call("SignerRegistry", "rotate", [[account.address, other.address, CONTRACTS.LUCID]]));
await same("a proposal of who is not eligible", FAILS, call("LucidGovernor", "propose", [2, `0x${"0".repeat(128)}`, "no"]));
await same("a vote on nothing", FAILS, call("LucidGovernor", "vote", [1n, 1]));
await same("an action scheduled by nobody", FAILS, call("Timelock", "schedule", [1n, 0, "0x"]));
await same("a node registers with a bond", OK, call("WorkCredits", "register", [random32(), random32()], { value: parseEther("1"), gas: 1_000_000n }), other);
await same("a node registers twice", FAILS, call("WorkCredits", "register", [random32(), random32()], { value: parseEther("1"), gas: 1_000_000n }), other);
await same("a bond too small", FAILS, call("WorkCredits", "register", [random32(), random32()], { value: 1n, gas: 1_000_000n }));
await same("a block noted by nobody", FAILS, call("WorkCredits", "onBlock", [1n, 0n, account.address, [], []]));
await same("nothing to claim", FAILS, call("WorkCredits", "claim", [other.address]));

const views = [
  ["LucidAnchors", "session", [session[0]]],
  ["LucidAnchors", "session", [session[1]]],
  ["LucidAnchors", "ownerOf", [session[0]]],
  ["LucidAnchors", "session", [random32()]],
  ["LucidChunkStore", "chunk", [session[0], 3n]],
  ["LucidChunkStore", "leases", [1n, 20n]],
  ["LucidChunkStore", "doors", []],
  ["LUCID", "name", []],
  ["LUCID", "totalSupply", []],
  ["LUCID", "balanceOf", [other.address]],
  ["LUCID", "DOMAIN_SEPARATOR", []],
  ["LUCID", "eip712Domain", []],
  ["ParamRegistry", "list", []],
  ["SignerRegistry", "signers", []],
  ["WorkCredits", "validators", []],
  ["WorkCredits", "tally", []],
  ["WorkCredits", "currentOrder", []],
  ["WorkCredits", "keysOf", [other.address]],
  ["WorkCredits", "eligible", [other.address]],
  ["LucidGovernor", "proposalCount", []],
];
await check(`return data of ${views.length} calls`, async () => {
  const number = await ask("eth_blockNumber");
  await there("anvil_reset", [{ forking: { jsonRpcUrl: RPC, blockNumber: Number(number) } }]);
  for (const [name, functionName, args] of views) {
    const request = { from: account.address, ...call(name, functionName, args) };
    equal(await ask("eth_call", [request, number]), await there("eth_call", [request, "latest"]), `${name}.${functionName}`);
  }
});

await check("a call that reverts gives the same data", async () => {
  const request = { from: account.address, ...call("LucidAnchors", "registerSession", [session[0], ...fields()]) };
  const revert = async (to) => {
    const response = await fetch(to, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_call", params: [request, "latest"] }) });
    const { error } = await response.json();
    return [error.code, error.data];
  };
  equal(await revert(RPC), await revert(anvilUrl), "code and data");
});

finish();

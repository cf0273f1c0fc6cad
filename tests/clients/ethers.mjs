// A Lucid chain through ethers: node ethers.mjs RPC_URL FUNDED_PRIVATE_KEY ARTIFACTS_FOLDER
import { Contract, JsonRpcProvider, NonceManager, Signature, Wallet, WebSocketProvider, isError, parseEther, toBeHex } from "ethers";
import { CONTRACTS, KEY, RPC, WS, abiOf, check, ensure, equal, finish, random32, using, verifyProof, within } from "./checks.mjs";

using("ethers");
const provider = new JsonRpcProvider(RPC, undefined, { cacheTimeout: -1, pollingInterval: 250 });
const wallet = new Wallet(KEY, provider);
const anchors = new Contract(CONTRACTS.LucidAnchors, abiOf("LucidAnchors"), wallet);
const lucid = new Contract(CONTRACTS.LUCID, abiOf("LUCID"), wallet);
const session = (id) => [id, wallet.address, random32(), random32(), random32(), 9n];
const failure = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
};

await check("network and blocks", async () => {
  const network = await provider.getNetwork();
  const latest = await provider.getBlock("latest", true);
  ensure(latest.hash && latest.baseFeePerGas > 0n && latest.timestamp > 0, "block");
  equal((await provider.getBlock(0)).number, 0, "genesis");
  equal((await provider.getBlock(latest.hash)).number, latest.number, "by hash");
  equal((await provider.getBlock("finalized")).number >= latest.number, true, "finalized");
  equal(await provider.getBlock(4_000_000_000), null, "block of the future");
  return `chain ${network.chainId}`;
});

const other = Wallet.createRandom(provider);
await check("a transfer arrives, at the price the receipt says", async () => {
  const before = await provider.getBalance(wallet.address);
  const value = parseEther("0.1");
  const sent = await wallet.sendTransaction({ to: other.address, value });
  const receipt = await sent.wait();
  equal([receipt.status, receipt.gasUsed], [1, 21_000n], "receipt");
  equal(await provider.getBalance(other.address), value, "balance");
  equal(before - (await provider.getBalance(wallet.address)), value + receipt.fee, "cost");
  equal((await provider.getTransaction(sent.hash)).blockHash, receipt.blockHash, "transaction");
  equal((await receipt.getBlock()).number, receipt.blockNumber, "its block");
});

await check("nonces in a row, and one that is used", async () => {
  const manager = new NonceManager(wallet);
  const sent = await Promise.all(Array.from({ length: 4 }, () => manager.sendTransaction({ to: other.address, value: 1n, gasLimit: 21_000n })));
  const nonces = sent.map((transaction) => transaction.nonce).sort((a, b) => a - b);
  equal(nonces, nonces.map((_, index) => nonces[0] + index), "nonces");
  for (const transaction of sent) equal((await transaction.wait()).status, 1, "status");
  const error = await failure(wallet.sendTransaction({ to: other.address, value: 2n, nonce: nonces[0], gasLimit: 21_000n }));
  ensure(isError(error, "NONCE_EXPIRED"), `NONCE_EXPIRED, not ${error.code}: ${error.message}`);
});

await check("who has nothing is told so", async () => {
  const poor = Wallet.createRandom(provider);
  const error = await failure(poor.sendTransaction({ to: other.address, value: 1n, gasLimit: 21_000n, nonce: 0 }));
  ensure(isError(error, "INSUFFICIENT_FUNDS"), `INSUFFICIENT_FUNDS, not ${error.code}: ${error.message}`);
});

await check("a transaction can be replaced by one that pays more", async () => {
  const nonce = await wallet.getNonce("pending");
  // Two later than the next: it waits, so that there is time to replace it.
  const fees = await provider.getFeeData();
  const build = (factor, value) => ({ to: other.address, value, nonce: nonce + 1, gasLimit: 21_000n, maxFeePerGas: fees.maxFeePerGas * factor, maxPriorityFeePerGas: (fees.maxPriorityFeePerGas + 1n) * factor });
  const first = await wallet.sendTransaction(build(1n, 1n));
  const cheap = await failure(wallet.sendTransaction(build(1n, 2n)));
  ensure(isError(cheap, "REPLACEMENT_UNDERPRICED"), `REPLACEMENT_UNDERPRICED, not ${cheap.code}: ${cheap.message}`);
  const second = await wallet.sendTransaction(build(2n, 3n));
  await (await wallet.sendTransaction({ to: other.address, value: 1n, nonce, gasLimit: 21_000n })).wait();
  equal((await within(30_000, second.wait(), "the replacement")).status, 1, "status");
  equal(await provider.getTransactionReceipt(first.hash), null, "the replaced one is in no block");
});

const id = random32();
let receipt;
await check("registerSession is written and read back", async () => {
  const args = session(id);
  const gas = await anchors.registerSession.estimateGas(...args);
  receipt = await (await anchors.registerSession(...args)).wait();
  equal(receipt.status, 1, "status");
  ensure(receipt.gasUsed <= gas, `gas used ${receipt.gasUsed} within the estimate ${gas}`);
  const stored = await anchors.session(id);
  equal([stored.owner, stored.size], [wallet.address, 9n], "session");
  const event = receipt.logs.map((log) => anchors.interface.parseLog(log)).find((log) => log?.name === "SessionRegistered");
  equal(event.args.id, id, "event in the receipt");
  equal((await anchors.session(id, { blockTag: receipt.blockNumber - 1 })).size, 0n, "one block earlier");
});

await check("logs by filter", async () => {
  const found = await anchors.queryFilter(anchors.filters.SessionRegistered(id), 0, "latest");
  equal(found.length, 1, "events");
  equal([found[0].args.chunkCount, found[0].blockNumber], [9n, receipt.blockNumber], "event");
});

await check("custom errors keep their names and arguments", async () => {
  const called = await failure(anchors.registerSession.staticCall(...session(id)));
  ensure(isError(called, "CALL_EXCEPTION"), called.message);
  equal([called.revert?.name, called.revert?.args[0]], ["SessionExists", id], "eth_call");
  const estimated = await failure(anchors.registerSession.estimateGas(...session(id)));
  equal(estimated.revert?.name ?? anchors.interface.parseError(estimated.data)?.name, "SessionExists", "eth_estimateGas");
  const failed = await failure((await anchors.registerSession(...session(id), { gasLimit: 200_000n })).wait());
  equal([failed.code, failed.receipt.status], ["CALL_EXCEPTION", 0], "in a block");
  const token = await failure(lucid.transfer.staticCall(other.address, parseEther("1000000")));
  equal(token.revert?.name, "ERC20InsufficientBalance", "the token");
});

await check("WebSocket: blocks, logs and pending transactions", async () => {
  const ws = new WebSocketProvider(WS);
  const blocks = [];
  const logs = [];
  const pending = [];
  await ws.on("block", (number) => blocks.push(number));
  await ws.on("pending", (hash) => pending.push(hash));
  const watched = new Contract(CONTRACTS.LucidAnchors, abiOf("LucidAnchors"), ws);
  await watched.on("SessionRegistered", (found) => logs.push(found));
  await new Promise((resolve) => setTimeout(resolve, 500));
  const second = random32();
  const sent = await anchors.registerSession(...session(second));
  await sent.wait();
  const seen = async () => {
    while (!blocks.length || !logs.includes(second) || !pending.includes(sent.hash)) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await within(10_000, seen(), `blocks ${blocks.length}, logs ${logs.length}, pending ${pending.length}`);
  await ws.removeAllListeners();
  // ethers throws where nobody can catch it when the answers to its eth_unsubscribe are still on their way.
  await ws.getBlockNumber();
  await new Promise((resolve) => setTimeout(resolve, 500));
  await ws.destroy();
});

await check("eth_getProof holds under the block's state root", async () => {
  const number = toBeHex(receipt.blockNumber).replace(/^0x0+(?=.)/, "0x");
  const block = await provider.send("eth_getBlockByNumber", [number, false]);
  for (const address of [wallet.address, CONTRACTS.LucidAnchors, CONTRACTS.LUCID]) {
    verifyProof(block.stateRoot, await provider.send("eth_getProof", [address, ["0x0", random32()], number]));
  }
});

await check("fee history and suggestions", async () => {
  const history = await provider.send("eth_feeHistory", ["0x5", "latest", [10, 50, 90]]);
  ensure(history.baseFeePerGas.length === history.gasUsedRatio.length + 1, "lengths");
  const fees = await provider.getFeeData();
  ensure(fees.maxFeePerGas > 0n && fees.gasPrice > 0n && fees.maxPriorityFeePerGas >= 0n, "fees");
  return `${fees.maxFeePerGas} wei a gas at most`;
});

await check("EIP-712 permit on LUCID", async () => {
  const value = parseEther("0.125");
  await (await lucid.deposit({ value })).wait();
  const nonce = await lucid.nonces(wallet.address);
  const { name, version, chainId, verifyingContract } = await lucid.eip712Domain();
  const message = { owner: wallet.address, spender: other.address, value, nonce, deadline: 2n ** 62n };
  const types = { Permit: ["owner", "spender"].map((field) => ({ name: field, type: "address" })).concat(["value", "nonce", "deadline"].map((field) => ({ name: field, type: "uint256" }))) };
  const { v, r, s } = Signature.from(await wallet.signTypedData({ name, version, chainId, verifyingContract }, types, message));
  const stranger = lucid.connect(other);
  await (await stranger.permit(wallet.address, other.address, value, message.deadline, v, r, s)).wait();
  equal(await lucid.allowance(wallet.address, other.address), value, "allowance");
  const again = await failure(stranger.permit.staticCall(wallet.address, other.address, value, message.deadline, v, r, s));
  equal(again.revert?.name, "ERC2612InvalidSigner", "a permit is used once");
});

await check("an unknown method", async () => {
  const error = await failure(provider.send("eth_fillTransaction", [{}]));
  ensure(isError(error, "UNSUPPORTED_OPERATION") || error.error?.code === -32601, `unsupported, not ${error.code}: ${error.message}`);
});

provider.destroy();
finish();

// A Lucid chain through viem: node viem.mjs RPC_URL FUNDED_PRIVATE_KEY ARTIFACTS_FOLDER
import {
  BaseError, ContractFunctionRevertedError, InsufficientFundsError, NonceTooLowError, createPublicClient, createWalletClient,
  defineChain, encodeFunctionData, getContract, http, parseEther, parseSignature, webSocket,
} from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { BLOCK_FIELDS, CONTRACTS, KEY, RPC, WS, abiOf, ask, check, concat, ensure, equal, finish, keccak256, random32, raw, using, verifyProof, within } from "./checks.mjs";

using("viem");
const chainId = Number(await ask("eth_chainId"));
const chain = defineChain({ id: chainId, name: "Lucid", nativeCurrency: { name: "Lucid", symbol: "LUCID", decimals: 18 }, rpcUrls: { default: { http: [RPC], webSocket: [WS] } } });
const account = privateKeyToAccount(KEY);
const transport = http(RPC);
const node = createPublicClient({ chain, transport, pollingInterval: 200 });
const wallet = createWalletClient({ chain, transport, account });
const ws = createPublicClient({ chain, transport: webSocket(WS) });
const receiptOf = (hash) => node.waitForTransactionReceipt({ hash, timeout: 60_000 });
const anchors = { address: CONTRACTS.LucidAnchors, abi: abiOf("LucidAnchors") };
const lucid = { address: CONTRACTS.LUCID, abi: abiOf("LUCID") };
const revertOf = async (promise) => {
  try {
    await promise;
  } catch (error) {
    ensure(error instanceof BaseError, `viem's own error, not ${error}`);
    const revert = error.walk((inner) => inner instanceof ContractFunctionRevertedError);
    ensure(revert, `a revert, not ${error.message}`);
    return revert;
  }
  throw new Error("it did not fail");
};

await check("chain id and client", async () => {
  equal(await node.getChainId(), chainId, "chain id");
  equal(await ask("net_version"), String(chainId), "net_version");
  return ask("web3_clientVersion");
});

await check("blocks by tag, number and hash have every header field", async () => {
  const latest = await node.getBlock();
  for (const tag of ["safe", "finalized"]) ensure((await node.getBlock({ blockTag: tag })).number >= latest.number, tag);
  const byHash = await node.getBlock({ blockHash: latest.hash, includeTransactions: true });
  equal(byHash.number, latest.number, "number");
  for (const block of [await ask("eth_getBlockByNumber", ["latest", false]), await ask("eth_getBlockByNumber", ["earliest", true])]) {
    for (const field of BLOCK_FIELDS) ensure(field in block, `field ${field} of block ${block.number}`);
  }
  equal((await node.getBlock({ blockTag: "earliest" })).number, 0n, "earliest");
  if (latest.number > 0n) {
    const parent = await node.getBlock({ blockNumber: latest.number - 1n });
    equal(latest.parentHash, parent.hash, "parent hash");
  }
});

const other = privateKeyToAccount(generatePrivateKey());
await check("a transfer arrives, and costs what its receipt says", async () => {
  const before = await node.getBalance({ address: account.address });
  const value = parseEther("0.25");
  const hash = await wallet.sendTransaction({ to: other.address, value });
  const receipt = await receiptOf(hash);
  equal(receipt.status, "success", "status");
  equal(receipt.gasUsed, 21_000n, "gas");
  equal(receipt.type, "eip1559", "type");
  equal(await node.getBalance({ address: other.address }), value, "balance of the receiver");
  const after = await node.getBalance({ address: account.address });
  equal(before - after, value + receipt.gasUsed * receipt.effectiveGasPrice, "what the sender paid");
  const transaction = await node.getTransaction({ hash });
  equal(transaction.from.toLowerCase(), account.address.toLowerCase(), "from");
  equal(transaction.blockNumber, receipt.blockNumber, "block");
  const byIndex = await node.getTransaction({ blockHash: receipt.blockHash, index: receipt.transactionIndex });
  equal(byIndex.hash, hash, "by index");
  const history = await node.getBalance({ address: other.address, blockNumber: receipt.blockNumber - 1n });
  equal(history, 0n, "balance one block earlier");
});

await check("legacy and EIP-2930 transactions", async () => {
  const gasPrice = (await node.getGasPrice()) * 2n;
  for (const request of [{ type: "legacy", gasPrice }, { type: "eip2930", gasPrice, accessList: [] }]) {
    const receipt = await receiptOf(await wallet.sendTransaction({ to: other.address, value: 1n, ...request }));
    equal([receipt.status, receipt.type], ["success", request.type], request.type);
  }
});

await check("nonces: latest, pending, too low", async () => {
  const address = account.address;
  const latest = await node.getTransactionCount({ address });
  equal(await node.getTransactionCount({ address, blockTag: "pending" }), latest, "pending without waiting ones");
  const hashes = [];
  for (let index = 0; index < 3; index += 1) hashes.push(await wallet.sendTransaction({ to: other.address, value: 1n, nonce: latest + index }));
  ensure((await node.getTransactionCount({ address, blockTag: "pending" })) === latest + 3, "pending counts waiting ones");
  for (const hash of hashes) equal((await receiptOf(hash)).status, "success", "status");
  equal(await node.getTransactionCount({ address }), latest + 3, "latest afterwards");
  try {
    await wallet.sendTransaction({ to: other.address, value: 1n, nonce: latest, gas: 21_000n });
  } catch (error) {
    ensure(error.walk((inner) => inner instanceof NonceTooLowError), `NonceTooLowError, not ${error}`);
    return;
  }
  throw new Error("a used nonce was taken");
});

await check("who has nothing cannot send", async () => {
  const poor = createWalletClient({ chain, transport, account: privateKeyToAccount(generatePrivateKey()) });
  try {
    await poor.sendTransaction({ to: other.address, value: 1n, gas: 21_000n });
  } catch (error) {
    ensure(error.walk((inner) => inner instanceof InsufficientFundsError), `InsufficientFundsError, not ${error}`);
    return;
  }
  throw new Error("it was taken");
});

const session = (id) => [id, account.address, random32(), random32(), random32(), 7n];
const id = random32();
let registered;
await check("registerSession is written and read back", async () => {
  const args = session(id);
  const gas = await node.estimateContractGas({ ...anchors, functionName: "registerSession", args, account });
  const hash = await wallet.writeContract({ ...anchors, functionName: "registerSession", args });
  registered = await receiptOf(hash);
  equal(registered.status, "success", "status");
  ensure(registered.gasUsed <= gas, `gas used ${registered.gasUsed} within the estimate ${gas}`);
  const stored = await node.readContract({ ...anchors, functionName: "session", args: [id] });
  equal([stored.owner.toLowerCase(), stored.size], [account.address.toLowerCase(), 7n], "session");
  const free = await node.readContract({ ...anchors, functionName: "session", args: [random32()] });
  equal(free.size, 0n, "a free id");
  return `${registered.gasUsed} gas`;
});

await check("logs by contract, event, topic and block hash", async () => {
  const block = registered.blockNumber;
  const events = await node.getContractEvents({ ...anchors, eventName: "SessionRegistered", args: { id }, fromBlock: 0n });
  equal(events.length, 1, "events of the session");
  equal([events[0].args.chunkCount, events[0].blockNumber, events[0].transactionHash], [7n, block, registered.transactionHash], "event");
  const byHash = await node.getLogs({ address: anchors.address, blockHash: registered.blockHash });
  ensure(byHash.some((log) => log.transactionHash === registered.transactionHash), "by block hash");
  equal((await node.getLogs({ address: lucid.address, fromBlock: block, toBlock: block })).length, 0, "of another contract");
});

await check("custom errors keep their names and arguments", async () => {
  const revert = await revertOf(node.simulateContract({ ...anchors, functionName: "registerSession", args: session(id), account }));
  equal([revert.data?.errorName, revert.data?.args], ["SessionExists", [id]], "custom error");
  const estimated = await revertOf(node.estimateContractGas({ ...anchors, functionName: "registerSession", args: session(id), account }));
  equal(estimated.data?.errorName, "SessionExists", "from eth_estimateGas");
  const { error } = await raw("eth_call", [{ to: anchors.address, from: account.address, data: encodeFunctionData({ ...anchors, functionName: "registerSession", args: session(id) }) }, "latest"]);
  equal([error.code, error.message.startsWith("execution reverted")], [3, true], "raw error");
  const balance = await revertOf(node.simulateContract({ ...lucid, functionName: "withdraw", args: [parseEther("1000000")], account }));
  equal(balance.data?.errorName, "ERC20InsufficientBalance", "error of the token");
});

await check("a transaction that reverts is in a block, with status reverted", async () => {
  const hash = await wallet.writeContract({ ...anchors, functionName: "registerSession", args: session(id), gas: 200_000n });
  const receipt = await receiptOf(hash);
  equal([receipt.status, receipt.logs.length], ["reverted", 0], "receipt");
});

await check("WebSocket: new heads, logs and pending transactions", async () => {
  const heads = [];
  const logs = [];
  const pending = [];
  const stop = [
    ws.watchBlockNumber({ onBlockNumber: (number) => heads.push(number) }),
    ws.watchContractEvent({ ...anchors, eventName: "SessionRegistered", onLogs: (found) => logs.push(...found) }),
    ws.watchPendingTransactions({ onTransactions: (hashes) => pending.push(...hashes) }),
  ];
  await new Promise((resolve) => setTimeout(resolve, 500));
  const second = random32();
  const hash = await wallet.writeContract({ ...anchors, functionName: "registerSession", args: session(second) });
  await receiptOf(hash);
  const seen = async () => {
    while (!heads.length || !logs.some((log) => log.args.id === second) || !pending.includes(hash)) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await within(10_000, seen(), `heads ${heads.length}, logs ${logs.length}, pending ${pending.length}`);
  for (const end of stop) end();
  equal(await ws.getChainId(), chainId, "calls on the same connection");
});

await check("eth_getProof holds under the block's state root", async () => {
  // Where LucidAnchors keeps the session: keccak(id ‖ slot of the mapping), see storageLayout in its artifact.
  const stored = keccak256(concat([id, `0x${"0".repeat(64)}`]));
  const slots = [stored, random32(), `0x${"0".repeat(64)}`];
  const block = await node.getBlock({ blockNumber: registered.blockNumber });
  for (const address of [account.address, anchors.address, CONTRACTS.WorkCredits]) {
    const proof = await ask("eth_getProof", [address, slots, `0x${block.number.toString(16)}`]);
    verifyProof(block.stateRoot, proof);
  }
  const typed = await node.getProof({ address: anchors.address, storageKeys: slots, blockNumber: block.number });
  equal(typed.storageProof.length, 3, "slots");
  ensure(typed.storageProof[0].value > 0n, "the session's slot is not empty");
  equal(typed.storageProof[1].value, 0n, "a free slot");
});

await check("fee history and estimates", async () => {
  const history = await node.getFeeHistory({ blockCount: 4, rewardPercentiles: [25, 75] });
  const count = history.gasUsedRatio.length;
  ensure(count >= 1 && history.baseFeePerGas.length === count + 1 && history.reward.length === count, "lengths");
  ensure(history.reward.every((rewards) => rewards.length === 2 && rewards[0] <= rewards[1]), "rewards");
  const fees = await node.estimateFeesPerGas();
  ensure(fees.maxFeePerGas >= history.baseFeePerGas[count], "the fee covers the base fee");
  return `base fee ${history.baseFeePerGas[count]} wei`;
});

await check("EIP-712 permit on LUCID", async () => {
  const value = parseEther("0.5");
  equal((await receiptOf(await wallet.writeContract({ ...lucid, functionName: "deposit", value }))).status, "success", "deposit");
  const deadline = 2n ** 63n;
  const nonce = await node.readContract({ ...lucid, functionName: "nonces", args: [account.address] });
  const [, name, version, domainChain, verifyingContract] = await node.readContract({ ...lucid, functionName: "eip712Domain" });
  const signature = parseSignature(
    await account.signTypedData({
      domain: { name, version, chainId: Number(domainChain), verifyingContract },
      types: { Permit: ["owner:address", "spender:address", "value:uint256", "nonce:uint256", "deadline:uint256"].map((field) => ({ name: field.split(":")[0], type: field.split(":")[1] })) },
      primaryType: "Permit",
      message: { owner: account.address, spender: other.address, value, nonce, deadline },
    }),
  );
  const stranger = createWalletClient({ chain, transport, account: other });
  const args = [account.address, other.address, value, deadline, 27 + signature.yParity, signature.r, signature.s];
  equal((await receiptOf(await stranger.writeContract({ ...lucid, functionName: "permit", args }))).status, "success", "permit");
  equal(await node.readContract({ ...lucid, functionName: "allowance", args: [account.address, other.address] }), value, "allowance");
  const move = { ...lucid, functionName: "transferFrom", args: [account.address, other.address, value] };
  equal((await receiptOf(await stranger.writeContract(move))).status, "success", "transferFrom");
  const token = getContract({ ...lucid, client: node });
  equal(await token.read.balanceOf([other.address]), value, "tokens");
});

await check("many calls in one batch", async () => {
  const batching = createPublicClient({ chain, transport: http(RPC, { batch: { batchSize: 50 } }) });
  const numbers = await Promise.all(Array.from({ length: 40 }, () => batching.getBlockNumber({ cacheTime: 0 })));
  equal(numbers.length, 40, "answers");
});

await check("what is not here is answered as Ethereum's nodes do", async () => {
  for (const method of ["eth_fillTransaction", "eth_newFilter", "debug_traceTransaction", "personal_sign"]) {
    equal((await raw(method, [])).error?.code, -32601, method);
  }
  equal(await raw("eth_getTransactionReceipt", [random32()]).then((answer) => answer.result), null, "receipt of nothing");
  equal(await raw("eth_getBlockByNumber", ["0xffffffff", false]).then((answer) => answer.result), null, "block of the future");
  equal((await raw("eth_getBalance", ["0x12"])).error?.code, -32602, "malformed address");
});

await check("contracts cannot be created", async () => {
  const signed = await wallet.signTransaction({ ...(await wallet.prepareTransactionRequest({ to: other.address, value: 0n, gas: 100_000n })), to: undefined, data: "0x00" });
  const { error } = await raw("eth_sendRawTransaction", [signed]);
  ensure(error && /creat/.test(error.message), `refused, not ${JSON.stringify(error)}`);
});

await check("a transaction of another chain is refused", async () => {
  const request = await wallet.prepareTransactionRequest({ to: other.address, value: 0n, gas: 21_000n });
  const signed = await account.signTransaction({ ...request, chainId: chainId + 1 });
  const { error } = await raw("eth_sendRawTransaction", [signed]);
  ensure(error && /chain id/.test(error.message), `refused, not ${JSON.stringify(error)}`);
});

finish();

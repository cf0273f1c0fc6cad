#!/usr/bin/env bash
# A Lucid chain through cast: ./cast.sh RPC_URL FUNDED_PRIVATE_KEY ARTIFACTS_FOLDER
# The signatures are written out here, so the artifacts are not read: cast is used as people use it.
set -euo pipefail
if [ $# -ne 3 ]; then
  echo "usage: $0 RPC_URL FUNDED_PRIVATE_KEY ARTIFACTS_FOLDER" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
cast=${CAST:-$here/node_modules/.bin/cast}
export ETH_RPC_URL=$1
key=$2
export FOUNDRY_DISABLE_NIGHTLY_WARNING=1
ANCHORS=0x00000000000000000000000000000000004c0001
PARAMS=0x00000000000000000000000000000000004c0005
LUCID=0x00000000000000000000000000000000004c0008
REGISTER='registerSession(bytes32,address,bytes32,bytes32,bytes32,uint64)'
count=0

# check NAME: the last command's result is in $got, its reference in $want.
check() {
  if [ "$got" != "$want" ]; then
    printf 'FAILED  cast: %s: %s instead of %s\n' "$1" "$got" "$want"
    exit 1
  fi
  count=$((count + 1))
  printf 'ok      cast: %s\n' "$1"
}
# holds NAME COMMAND…
holds() {
  local name=$1
  shift
  if ! "$@"; then
    printf 'FAILED  cast: %s\n' "$name"
    exit 1
  fi
  count=$((count + 1))
  printf 'ok      cast: %s\n' "$name"
}
field() { node -e 'let s="";process.stdin.on("data",d=>s+=d).on("end",()=>{let v=JSON.parse(s);for(const k of process.argv[1].split("."))v=v[k];console.log(typeof v==="object"?JSON.stringify(v):v)})' "$1"; }
random32() { echo "0x$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')"; }

me=$("$cast" wallet address --private-key "$key")

got=$("$cast" chain-id)
want=$("$cast" rpc net_version | tr -d '"')
check "chain id $got"

holds "client $("$cast" client)" true

latest=$("$cast" block-number)
got=$("$cast" block "$latest" --json | field number)
want=$(printf '0x%x' "$latest")
check "block by number"
got=$("$cast" block finalized --field number)
holds "finalized is not behind latest" test "$got" -ge "$latest"
got=$("$cast" block 0 --field number) want=0
check "genesis is a block"
holds "base fee $("$cast" base-fee)" true
holds "gas price $("$cast" gas-price)" true
holds "age of the chain: $("$cast" age latest)" true

other=$("$cast" wallet new --json | field 0.address)
receipt=$("$cast" send --json --private-key "$key" --value 1000wei "$other")
got=$(field status <<<"$receipt") want=0x1
check "a transfer"
got=$("$cast" balance "$other") want=1000
check "its balance"
got=$("$cast" tx "$(field transactionHash <<<"$receipt")" from | tr '[:upper:]' '[:lower:]') want=$(tr '[:upper:]' '[:lower:]' <<<"$me")
check "the transaction's sender"

id=$(random32)
gas=$("$cast" estimate --from "$me" "$ANCHORS" "$REGISTER" "$id" "$me" "$(random32)" "$(random32)" "$(random32)" 5)
holds "estimate of registerSession: $gas" test "$gas" -gt 21000
receipt=$("$cast" send --json --private-key "$key" "$ANCHORS" "$REGISTER" "$id" "$me" "$(random32)" "$(random32)" "$(random32)" 5)
got=$(field status <<<"$receipt") want=0x1
check "registerSession"
block=$(($(field blockNumber <<<"$receipt")))
got=$("$cast" call "$ANCHORS" 'ownerOf(bytes32)(address)' "$id") want=$me
check "its owner read back"
got=$("$cast" call --block $((block - 1)) "$ANCHORS" 'ownerOf(bytes32)(address)' "$id") want=0x0000000000000000000000000000000000000000
check "and one block earlier"
got=$("$cast" logs --json --from-block 0 --to-block latest --address "$ANCHORS" 'SessionRegistered(bytes32 indexed,address indexed,bytes32,bytes32,bytes32,uint64)' "$id" | field length) want=1
check "its log"
got=$("$cast" receipt "$(field transactionHash <<<"$receipt")" blockNumber) want=$block
check "receipt by hash"

refused=$("$cast" send --private-key "$key" "$ANCHORS" "$REGISTER" "$id" "$me" "$(random32)" "$(random32)" "$(random32)" 5 2>&1 || true)
selector=$("$cast" sig 'SessionExists(bytes32)')
holds "registering twice is refused with the error's data" grep -qE "SessionExists|${selector#0x}" <<<"$refused"
refused=$("$cast" call --from "$me" "$LUCID" 'withdraw(uint256)' 1ether 2>&1 || true)
selector=$("$cast" sig 'ERC20InsufficientBalance(address,uint256,uint256)')
holds "withdrawing what is not there is refused" grep -qE "ERC20InsufficientBalance|${selector#0x}" <<<"$refused"

proof=$("$cast" proof "$ANCHORS" 0x0 0x1)
holds "proof of an account and two slots" test "$(field storageProof.length <<<"$proof")" = 2
holds "code of a contract" test "$("$cast" codesize "$ANCHORS")" -gt 100
got=$("$cast" code "$other") want=0x
check "no code of an account"
got=$("$cast" nonce "$me") want=$("$cast" nonce --block pending "$me")
check "nonce, latest and pending"
holds "storage slot" test "$("$cast" storage "$PARAMS" 0 | wc -c)" -eq 67

got=$("$cast" call "$LUCID" 'symbol()(string)') want='"LUCID"'
check "the token's symbol"
receipt=$("$cast" send --json --private-key "$key" --value 3wei "$LUCID" 'deposit()')
got=$(field status <<<"$receipt") want=0x1
check "deposit"

refused=$("$cast" rpc eth_fillTransaction '{}' 2>&1 || true)
holds "an unknown method is -32601" grep -q -- -32601 <<<"$refused"
refused=$("$cast" send --private-key "$key" --create 0x00 2>&1 || true)
holds "contracts cannot be created" grep -qi creat <<<"$refused"
holds "Lucid's own methods: height $("$cast" rpc lucid_status | field height)" true

echo "cast: $count checks passed"

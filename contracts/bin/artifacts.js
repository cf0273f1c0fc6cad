// Forge's output, cut down to what the chain needs, in one form: sorted keys, two spaces, no compiler-run numbers.
//
//   node bin/artifacts.js OUT_FOLDER ARTIFACT_FOLDER
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const CONTRACTS = [
  'LUCID', 'LucidAnchors', 'LucidChunkStore', 'LucidGovernor', 'ParamRegistry', 'SignerRegistry', 'Timelock', 'WorkCredits',
];

// Type names carry numbers of syntax-tree nodes, which change with every unrelated file.
const plain = (name) => name.replace(/\)\d+_/g, ')_');

function layout({ storage, types }) {
  return {
    storage: storage.map(({ label, offset, slot, type }) => ({ label, offset, slot, type: plain(type) })),
    types: Object.fromEntries(Object.entries(types ?? {}).map(([name, type]) => {
      const entry = { encoding: type.encoding, label: type.label, numberOfBytes: type.numberOfBytes };
      for (const key of ['base', 'key', 'value']) if (type[key]) entry[key] = plain(type[key]);
      if (type.members) {
        entry.members = type.members.map((member) => ({
          label: member.label, offset: member.offset, slot: member.slot, type: plain(member.type),
        }));
      }
      return [plain(name), entry];
    })),
  };
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

function code(name, { object, linkReferences }) {
  if (Object.keys(linkReferences ?? {}).length !== 0 || !/^0x([0-9a-f]{2})+$/.test(object)) {
    throw new Error(`${name}: the bytecode is not complete`);
  }
  return object;
}

const [out, target] = process.argv.slice(2);
fs.mkdirSync(target, { recursive: true });
for (const name of CONTRACTS) {
  const built = JSON.parse(fs.readFileSync(path.join(out, `${name}.sol`, `${name}.json`), 'utf8'));
  const artifact = {
    contractName: name,
    abi: built.abi,
    bytecode: code(name, built.bytecode),
    // Immutables are zero in it: the chain runs constructors, it does not paste this.
    deployedBytecode: code(name, built.deployedBytecode),
    storageLayout: layout(built.storageLayout),
  };
  fs.writeFileSync(path.join(target, `${name}.json`), `${JSON.stringify(sorted(artifact), null, 2)}\n`);
}

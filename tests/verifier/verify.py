"""Verifies a Lucid recording with its proof, offline: verify.py RECORDING PROOF --genesis genesis.json

Written from docs/sessions/format.md and docs/sessions/proof.md alone, so that it shows whether they are complete. It shares no code
with Lucid. Prints one line; exits with 0 if everything holds, with 1 if not.
"""

import argparse
import json
import pathlib
import re
import sys

import blake3
from Crypto.Hash import keccak as keccak_library
from nacl import bindings as sodium
from nacl.exceptions import BadSignatureError

ANCHORS = bytes.fromhex("00000000000000000000000000000000004c0001")
P = 2**255 - 19


class Refused(Exception):
    """What does not hold."""


def need(holds, why):
    if not holds:
        raise Refused(why)


# Hashes and signatures


def H(data):
    return blake3.blake3(data).digest()


def D(context, data):
    return blake3.blake3(data, derive_key_context=context).digest()


def keccak(*parts):
    return keccak_library.new(digest_bits=256, data=b"".join(parts)).digest()


def signed_by(key, message, signature):
    """Strict Ed25519. libsodium refuses S above the order, points of small order and keys that are not canonical."""
    try:
        sodium.crypto_sign_open(signature + message, key)
    except (BadSignatureError, ValueError):
        return False
    # R may not be written in another way than the one.
    return int.from_bytes(signature[:32], "little") & (2**255 - 1) < P


# borsh


class Reader:
    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, count):
        need(self.at + count <= len(self.data), f"{self.what} is cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def u(self, size):
        return int.from_bytes(self.take(size), "little")

    def u8(self):
        return self.u(1)

    def u16(self):
        return self.u(2)

    def u32(self):
        return self.u(4)

    def u64(self):
        return self.u(8)

    def u256(self):
        return self.u(32)

    def h(self):
        return self.take(32)

    def bool(self):
        value = self.u8()
        need(value < 2, f"{self.what} has a bool that is {value}")
        return value == 1

    def bytes(self, most=None):
        size = self.u32()
        need(most is None or size <= most, f"{self.what} has {size} bytes where {most} are allowed")
        return self.take(size)

    def text(self, most=256):
        try:
            return self.bytes(most).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"{self.what} has a text that is not UTF-8") from None

    def list(self, read, most=None):
        count = self.u32()
        need(most is None or count <= most, f"{self.what} has a list of {count} where {most} are allowed")
        return [read() for _ in range(count)]

    def option(self, read):
        return read() if self.bool() else None

    def end(self):
        need(self.at == len(self.data), f"{self.what} has bytes left over")


def open_signed(data, what):
    r = Reader(data, what)
    body, signature = r.bytes(), r.take(64)
    r.end()
    return body, signature


# Recordings (docs/sessions/format.md)


def open_head(section):
    need(len(section) <= 256 << 10, "the head is too large")
    body, signature = open_signed(section, "the head")
    r = Reader(body, "the head")
    need(r.u16() == 1, "the head has another version")
    ticket_body, ticket_signature = r.bytes(), r.take(64)
    head = {
        "started": r.u64(), "salt": r.h(), "recipients": r.list(r.h, 64), "wraps": r.h(), "recorder": r.text(), "client": r.text(),
        "bytes": section, "hash": D("lucid 2026-11 recording head v1", section),
    }  # fmt: skip
    r.end()
    r = Reader(ticket_body, "the ticket")
    for field, read in (
        ("session", lambda: r.take(16)), ("key", r.h), ("host", r.h), ("user", r.text), ("target", r.text),
        ("minted", r.u64), ("expires", r.u64), ("policy", r.h),
    ):  # fmt: skip
        head[field] = read()
    r.end()
    need(signed_by(head["host"], b"lucid signature: ticket v1\0" + ticket_body, ticket_signature), "the ticket's signature does not hold")
    need(signed_by(head["key"], b"lucid signature: head v1\0" + body, signature), "the head's signature does not hold")
    return head


def open_manifest(section, head):
    need(len(section) <= 256 << 10, "the manifest is too large")
    body, signature = open_signed(section, "the manifest")
    r = Reader(body, "the manifest")
    need(r.u16() == 1, "the manifest has another version")
    manifest = {"bytes": section, "hash": D("lucid 2026-11 manifest v1", section)}
    for field, read in (
        ("session", lambda: r.take(16)), ("head", r.h), ("chunks", r.u32), ("root", r.h), ("duration", r.u64), ("sealed", r.u64),
        ("chunk_bytes", r.u64), ("ending", r.u8), ("reason", r.text),
    ):  # fmt: skip
        manifest[field] = read()
    r.end()
    need(manifest["ending"] < 2, "the manifest has an unknown ending")
    key = head["host"] if manifest["ending"] else head["key"]
    need(signed_by(key, b"lucid signature: manifest v1\0" + body, signature), "the manifest's signature does not hold")
    need(manifest["session"] == head["session"] and manifest["head"] == head["hash"], "the manifest is of another recording")
    return manifest


def leaf(index, address):
    return D("lucid 2026-11 merkle leaf v1", index.to_bytes(4, "little") + address)


def node(left, right):
    return D("lucid 2026-11 merkle node v1", left + right)


def salted(salt, size, root):
    return D("lucid 2026-11 salted merkle root v1", salt + size.to_bytes(4, "little") + root)


def split(n):
    return 1 << ((n - 1).bit_length() - 1)


def range_root(n, first, end, leaves, proof):
    if first >= n or end <= 0:
        need(proof, "the range proof is too short")
        return proof.pop(0)
    if n == 1:
        return leaves.pop(0)
    k = split(n)
    left = range_root(k, first, min(end, k), leaves, proof)
    return node(left, range_root(n - k, max(first - k, 0), max(end - k, 0), leaves, proof))


class Log:
    """Roots of complete subtrees from the left; their sizes are the bits of the log's size."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def push(self, level, root):
        at = self.size >> level
        while at & 1:
            root, at = node(self.peaks.pop(), root), at >> 1
        self.peaks.append(root)
        self.size += 1 << level

    def root(self):
        if not self.peaks:
            return bytes(32)
        root = self.peaks[-1]
        for left in reversed(self.peaks[:-1]):
            root = node(left, root)
        return root


def cover(level, prefix, first, last):
    """Inner keys that open first..=last, as levels and prefixes."""
    low = prefix << (32 - level)
    high = low + (1 << (32 - level)) - 1
    if last < low or first > high:
        return []
    if first <= low and high <= last:
        return [(level, prefix)]
    return cover(level + 1, 2 * prefix, first, last) + cover(level + 1, 2 * prefix + 1, first, last)


def open_recording(data):
    need(len(data) >= 28 and data[:8] == b"LUCIDREC", "this is not a recording")
    need(data[8:10] == b"\1\0" and data[10] < 2 and data[11:16] == bytes(5), "the recording has another version or kind")
    need(data[-8:] == b"LUCIDEND", "the recording is cut short")
    size = int.from_bytes(data[-12:-8], "little")
    need(size <= 16 << 20 and size + 12 + 12 + 16 <= len(data), "the index is too large")
    start = len(data) - 12 - size
    r = Reader(data[start:-12], "the index")

    def span():
        return r.u64(), r.u64()

    kind = r.u8()
    need(kind == data[10], "preamble and index name two kinds")
    spans = {"HEAD": span(), "WRAP": r.option(span), "KEYS": r.option(span), "PROF": r.option(span)}
    manifest_span = span()
    first = r.u32()
    entries = r.list(lambda: (r.u64(), r.u32(), r.h(), r.u64(), r.u64(), r.bool()))
    r.end()
    need((kind == 1) == (spans["KEYS"] is not None) == (spans["PROF"] is not None), "the sections are not those of the kind")
    need(kind == 0 or spans["WRAP"] is None, "a disclosure has key wraps")

    # The layout: nothing stands between the sections.
    at, sections = 16, {}
    order = [(tag, spans[tag]) for tag in ("HEAD", "WRAP", "KEYS", "PROF") if spans[tag] is not None]
    order += [("CHNK", entry[:2]) for entry in entries] + [("MANI", manifest_span), ("INDX", (start, size))]
    for tag, (offset, length) in order:
        need(offset == at + 12 and offset + length <= len(data) - 12, f"section {tag} is not where the one before ends")
        need(data[at : at + 4] == tag.encode() and int.from_bytes(data[at + 4 : at + 12], "little") == length, f"section {tag} is framed otherwise")
        need(tag in ("CHNK", "INDX") or length <= 256 << 10, f"section {tag} is too large")
        need(tag != "CHNK" or length <= 17 << 20, "a chunk is too large")
        sections[tag] = data[offset : offset + length]
        at = offset + length
    need(at == len(data) - 12, "the footer is not where the index ends")

    head = open_head(sections["HEAD"])
    manifest = open_manifest(sections["MANI"], head)
    if "WRAP" in sections:
        r = Reader(sections["WRAP"], "the key wraps")
        recipients = r.list(lambda: (r.h(), r.take(1168))[0], 64)
        r.end()
        need(D("lucid 2026-11 key wraps v1", sections["WRAP"]) == head["wraps"], "the key wraps are not those of the head")
        need(recipients == head["recipients"], "the recipients are not those of the head")
    count = len(entries)
    need(first + count <= manifest["chunks"], "there are more chunks than the manifest says")
    leaves = [leaf(first + i, entry[2]) for i, entry in enumerate(entries)]
    if kind == 0:
        need(first == 0 and count == manifest["chunks"], "the recording has not as many chunks as its manifest says")
        need(sum(entry[1] for entry in entries) == manifest["chunk_bytes"], "the recording has not as many bytes as its manifest says")
        log = Log()
        for one in leaves:
            log.push(0, one)
        root = log.root()
    else:
        open_disclosure(sections["KEYS"], head, first, count)
        r = Reader(sections["PROF"], "the range proof")
        proof = r.list(r.h)
        r.end()
        root = range_root(manifest["chunks"], first, first + count, leaves, proof)
        need(not leaves and not proof, "the range proof is too long")
    need(salted(head["salt"], manifest["chunks"], root) == manifest["root"], "the chunks do not lead to the manifest's root")

    ended, before = 0, head["hash"] if first == 0 else None
    for i, entry in enumerate(entries):
        chunk = data[entry[0] : entry[0] + entry[1]]
        torn = manifest["ending"] == 1 and first + i + 1 == manifest["chunks"]
        check_chunk(chunk, entry, first + i, head, before, torn)
        need(entry[3] >= ended and entry[4] <= manifest["duration"], f"the times of chunk {first + i} overlap or lie after the end")
        ended, before = entry[4], entry[2]
    return {"kind": kind, "head": head, "manifest": manifest, "first": first, "addresses": [entry[2] for entry in entries]}


def open_disclosure(section, head, first, count):
    body, signature = open_signed(section, "the disclosure")
    r = Reader(body, "the disclosure")
    need(r.u16() == 1, "the disclosure has another version")
    session, said_first, last, by = r.take(16), r.u32(), r.u32(), r.h()
    keys = r.list(lambda: (r.u8(), r.u32(), r.h())[:2], 62)
    r.end()
    need(signed_by(by, b"lucid signature: disclosure v1\0" + body, signature), "the disclosure's signature does not hold")
    need(session == head["session"], "the disclosure is of another session")
    need(said_first == first and last >= first and last - first + 1 == count, "the disclosure's chunks are not those it names")
    need(keys == cover(0, 0, first, last), "the disclosure's keys are not those of its range")


def check_chunk(data, entry, position, head, before, torn):
    name = f"chunk {position}"
    _, _, address, start, end, keyframe = entry
    need(H(data) == address, f"{name} has another address")
    r = Reader(data, name)
    need(r.take(4) == b"LCHK" and r.u16() == 1 and r.u8() == 1, f"{name} is no chunk of this version")
    need(r.take(16) == head["session"], f"{name} is of another session")
    need(r.u32() == position, f"{name} was sealed at another position")
    previous = r.h()
    need(before is None or previous == before, f"{name} was sealed after another chunk")
    need(r.u64() == start, f"{name} begins at another time than the index says")
    r.take(8 + 19 + 32)
    trailer = None
    while r.at < len(data):
        need(trailer is None, f"{name} has bytes after its final segment")
        length, kind = r.u32(), r.u8()
        need(length >= 16 and length <= 17 << 20 and kind & ~0x81 == 0, f"{name} has a malformed segment")
        r.take(8)
        if kind & 0x80:
            trailer = r.u64(), r.u32(), r.u32(), r.u8()
        r.take(length)
    if trailer is None:
        need(torn, f"{name} has no final segment")
        need(end == start and not keyframe, f"the index says otherwise than {name}")
    else:
        need(trailer[0] >= start and trailer[3] < 2 and trailer[2] <= 16 << 20, f"{name} has a malformed trailer")
        need((trailer[0], trailer[3] == 1) == (end, keyframe), f"the index says otherwise than {name}")


# The chain (docs/sessions/proof.md)


def words(*values):
    out = b""
    for value in values:
        out += value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")
    return keccak(out)


def open_genesis(text):
    def duplicate(pairs):
        need(len({key for key, _ in pairs}) == len(pairs), "the genesis file names a field twice")
        return dict(pairs)

    try:
        genesis = json.loads(text, object_pairs_hook=duplicate)
    except ValueError:
        raise Refused("the genesis file is malformed") from None

    def hexed(value, size):
        need(re.fullmatch(f"0x[0-9a-fA-F]{{{2 * size}}}", value), "the genesis file is malformed")
        return bytes.fromhex(value[2:])

    def le(value, size):
        return int(value).to_bytes(size, "little")

    def amount(value):
        return le(int(value, 16) if isinstance(value, str) else value, 32)

    def listed(items):
        return le(len(items), 4) + b"".join(items)

    need(genesis["version"] == 1, "the genesis file has another version")
    pace = genesis["pace"]
    validators = [
        (hexed(one["node"], 20), hexed(one["consensusKey"], 32), hexed(one["vrfKey"], 32)) for one in genesis["validators"]
    ]
    out = le(1, 1) + le(genesis["chainId"], 8) + le(genesis["timeMs"], 8)
    out += b"".join(le(pace[field], 8) for field in ("blockIntervalMs", "proposeTimeoutMs", "voteTimeoutMs"))
    out += listed([b"".join(one) for one in validators])
    out += listed([hexed(one["address"], 20) + amount(one["balance"]) for one in genesis["accounts"]])
    out += amount(genesis["rewardReserve"]) + b"".join(hexed(one, 20) for one in genesis["paymentSigners"])
    keys = [(one["key"].encode(), one["value"]) for one in genesis["parameters"]]
    out += listed([le(len(key), 4) + key + amount(value) for key, value in keys])
    out += hexed(genesis["contractsHash"], 32) + hexed(genesis["stateRoot"], 32)
    check_set(validators)
    return {"hash": D("lucid chain 2026 genesis v1", out), "chain": genesis["chainId"], "validators": validators}


def check_set(validators):
    need(0 < len(validators) <= 100, "a set of validators is empty or too large")
    nodes = [one[0] for one in validators]
    need(nodes == sorted(set(nodes)), "validators are out of order or there twice")
    need(len({one[1] for one in validators}) == len(validators), "two validators have one key")


def hash_set(validators):
    return D("lucid chain 2026 validators v1", b"".join(b"".join(one) for one in validators))


def read_header(r):
    start = r.at
    header = {}
    for field, read in (
        ("version", r.u8), ("chain", r.u64), ("height", r.u64), ("time", r.u64), ("slot", r.u64), ("round", r.u32), ("seal", r.bool),
        ("proposer", lambda: r.take(20)), ("parent", r.h), ("commit", r.h), ("transactions", r.h), ("evidence", r.h), ("state", r.h),
        ("receipts", r.h), ("gas_limit", r.u64), ("gas_used", r.u64), ("base_fee", r.u64), ("set", r.h), ("next_set", r.h),
        ("vrf", lambda: r.take(80)),
    ):  # fmt: skip
        header[field] = read()
    header["id"] = D("lucid chain 2026 header v1", r.data[start : r.at])
    return header


def read_certificate(r):
    return {"height": r.u64(), "round": r.u32(), "block": r.h(), "signers": r.bytes(13), "signatures": r.list(lambda: r.take(64), 100)}


def check_certificate(certificate, header, genesis, validators):
    height = header["height"]
    need(certificate["height"] == height and certificate["block"] == header["id"], f"the certificate is of another block than {height}")
    bitmap, total = certificate["signers"], len(validators)
    signers = [i for i in range(8 * len(bitmap)) if bitmap[i // 8] >> (i % 8) & 1]
    need(len(bitmap) == (total + 7) // 8 and all(i < total for i in signers), "the certificate is for a set of another size")
    need(len(signers) == len(certificate["signatures"]), "signers and signatures do not pair up")
    need(3 * len(signers) > 2 * total, f"only {len(signers)} of {total} validators signed block {height}")
    for i, signature in zip(signers, certificate["signatures"]):
        message = b"LUCID-VOTE-V1" + genesis["hash"] + b"\2" + height.to_bytes(8, "little") + certificate["round"].to_bytes(4, "little")
        message += b"\1" + certificate["block"] + validators[i][0]
        need(signed_by(validators[i][1], message, signature), f"the signature of validator {i} on block {height} does not hold")


def final_header(data, genesis):
    """The header that a finality proof makes final."""
    need(data[:9] == b"LUCIDFIN\1", "this is no finality proof of this version")
    r = Reader(data[9:], "the finality proof")
    need(r.h() == genesis["hash"], "the proof is for another genesis file")

    def change():
        header, certificate = read_header(r), read_certificate(r)
        leave = r.list(r.u16)
        join = r.list(lambda: (r.take(20), r.h(), r.h()))
        return header, certificate, leave, join

    changes = r.list(change, 4096)
    header, certificate = read_header(r), read_certificate(r)
    r.end()
    known, told, height, time = genesis["validators"], [], 0, 0

    def check(header, certificate):
        at = header["height"]
        need(header["version"] == 1 and header["chain"] == genesis["chain"], f"header {at} is of another chain")
        need(at > height and header["time"] > time, f"header {at} is out of order")
        need(header["set"] == hash_set(known), f"header {at} is signed by other validators than those that are known")
        check_certificate(certificate, header, genesis, known)

    for changed, signed, leave, join in changes:
        check(changed, signed)
        need(changed["next_set"] != changed["set"], "a header is listed as a change and changes nothing")
        need(leave == sorted(set(leave)) and all(place < len(told) for place in leave), "those who leave are not told in order")
        need(join == sorted(join), "those who join are not told in order")
        gone = [told[place] for place in leave]
        need(not set(gone) & set(join), "a validator leaves and joins unchanged")
        told = sorted([one for one in told if one not in gone] + join)
        check_set(told)
        need(hash_set(told) == changed["next_set"], "the next validators are not those of the header")
        known, height, time = told, changed["height"], changed["time"]
    check(header, certificate)
    return header


def rlp(data):
    """A value and what follows it. Strict: every value has one encoding."""
    need(data, "RLP is cut short")
    first, size, at = data[0], 0, 1
    if first < 0x80:
        return data[:1], data[1:]
    base = 0x80 if first < 0xC0 else 0xC0
    if first - base <= 55:
        size = first - base
    else:
        width = first - base - 55
        need(len(data) > width and data[1] != 0, "RLP is malformed")
        size, at = int.from_bytes(data[1 : 1 + width], "big"), 1 + width
        need(size > 55, "RLP is malformed")
    need(at + size <= len(data), "RLP is cut short")
    content, rest = data[at : at + size], data[at + size :]
    if base == 0x80:
        need(not (size == 1 and content[0] < 0x80), "RLP is malformed")
        return content, rest
    items = []
    while content:
        item, content = rlp(content)
        items.append(item)
    return items, rest


def rlp_all(data):
    value, rest = rlp(data)
    need(not rest, "RLP has bytes left over")
    return value


def number(data):
    need(not data.startswith(b"\0"), "a number in RLP begins with zero")
    return int.from_bytes(data, "big")


def trie(root, key, nodes):
    """The value at `key` under `root`."""
    path = [nibble for byte in keccak(key) for nibble in (byte >> 4, byte & 15)]
    nodes, step = list(nodes), root
    while True:
        if isinstance(step, bytes):
            need(nodes and len(step) == 32 and keccak(nodes[0]) == step, "a node does not lead to the state's root")
            step = rlp_all(nodes.pop(0))
        need(isinstance(step, list) and len(step) in (2, 17), "a node of the state is malformed")
        if len(step) == 17:
            need(path, "a path in the state is too long")
            step = step[path.pop(0)]
            need(step, "there is nothing at this place of the state")
            continue
        coded = [nibble for byte in step[0] for nibble in (byte >> 4, byte & 15)]
        need(coded and coded[0] < 4, "a node of the state is malformed")
        part = coded[1:] if coded[0] & 1 else coded[2:]
        need(path[: len(part)] == part, "there is nothing at this place of the state")
        path, step = path[len(part) :], step[1]
        if coded[0] >= 2:
            need(not path and not nodes and isinstance(step, bytes), "a way through the state does not end at its value")
            return step


def minimal(value):
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def rlp_string(data):
    if len(data) == 1 and data[0] < 0x80:
        return data
    return bytes([0x80 + len(data)]) + data


def state_words(data, header, slots):
    """Words of LucidAnchors' storage in the state after a block."""
    need(data[:9] == b"LUCIDSTA\1", "this is no state proof of this version")
    r = Reader(data[9:], "the state proof")
    address = r.take(20)
    account = r.option(lambda: (r.u64(), r.u256(), r.h(), r.h()))
    nodes = lambda: r.list(lambda: r.bytes(1024), 65)  # noqa: E731
    account_nodes = nodes()
    told = r.list(lambda: (r.u256(), r.u256(), nodes()), 1024)
    r.end()
    need(address == ANCHORS and account is not None, "the state proof is not about the anchors' contract")
    need([slot for slot, _, _ in told] == slots, "the state proof is about other slots")
    stored = rlp_all(trie(header["state"], address, account_nodes))
    nonce, balance, storage, code = account
    need(stored == [minimal(nonce), minimal(balance), storage, code], "the contract's account is not as the proof says")
    values = []
    for slot, value, way in told:
        need(value != 0, "the session was not anchored")
        need(trie(storage, slot.to_bytes(32, "big"), way) == rlp_string(minimal(value)), "a slot is not as the proof says")
        values.append(value.to_bytes(32, "big"))
    return values


def placed(value, index, count, path):
    """The root that leads from a transaction's hash to the header (RFC 9162 section 2.1.3), with the count on top."""
    need(index < count, "the transaction has no place in its block")
    sides, width = [], count
    while width > 1:
        left = split(width)
        sides.append(index >= left)
        index, width = (index - left, width - left) if index >= left else (index, left)
    need(len(sides) == len(path), "the transaction's path has another length")
    root = D("lucid chain 2026 transaction leaf v1", value)
    for side, neighbour in zip(reversed(sides), path):
        root = D("lucid chain 2026 tree node v1", neighbour + root if side else root + neighbour)
    return D("lucid chain 2026 tree v1", count.to_bytes(8, "big") + root)


def check_transaction(transaction, header, closed, call):
    data, index, count, path = transaction
    need(closed["height"] == header["height"], "the session was not closed in the proof's block")
    need(placed(keccak(data), index, count, path) == header["transactions"], "the transaction is not in the block")
    need(data, "the transaction is empty")
    to, body = {1: (4, data[1:]), 2: (5, data[1:])}.get(data[0], (3, data))
    fields = rlp_all(body)
    need(isinstance(fields, list) and len(fields) > to + 2, "the transaction is malformed")
    need(fields[to] == ANCHORS and fields[to + 2] == call, "the transaction is not the one that closed this session")


# The proof file


def open_proof(data):
    need(data[:9] == b"LUCIDPRF\1", "this is no proof file of this version")
    need(len(data) <= (16 << 20) + 9, "the proof is too large")
    r = Reader(data[9:], "the proof")

    def moment():
        return {"height": r.u64(), "time": r.u64()}

    def checkpoint():
        return {"size": r.u32(), "root": r.option(r.h), "at": moment()}

    def batch():
        count, at, kind = r.u32(), moment(), r.u8()
        need(kind < 2, "the proof has an unknown kind of batch")
        if kind == 0:
            return {"count": count, "at": at, "root": r.h()}
        return {"count": count, "at": at, "leaf": (r.u32(), r.option(r.h), r.list(r.h, 32))}

    most = 65_536
    proof = {"head": r.bytes(256 << 10), "manifest": r.option(lambda: r.bytes(256 << 10))}
    proof |= {"owner": r.take(20), "opener": r.take(20), "registered": r.bool(), "opened": moment()}
    proof |= {"checkpoints": r.list(checkpoint, most), "start": r.h(), "batches": r.list(batch, most), "closed": r.option(moment)}
    proof |= {"spine": r.list(lambda: (r.u32(), r.list(r.h, 64)), most), "finality": r.bytes(), "state": r.bytes()}
    proof["transaction"] = r.option(lambda: (r.bytes(), r.u32(), r.u32(), r.list(r.h)))
    r.end()
    return proof


def spine_roots(spine, head, manifest):
    log, roots = Log(), {}
    for size, subtrees in spine:
        need(size > log.size, "the spine does not grow")
        subtrees = list(subtrees)
        while log.size < size:
            level = (size - log.size).bit_length() - 1
            if log.size:
                level = min(level, (log.size & -log.size).bit_length() - 1)
            need(subtrees, "a stretch of the spine is too short")
            log.push(level, subtrees.pop(0))
        need(not subtrees, "a stretch of the spine is too long")
        roots[size] = salted(head["salt"], size, log.root())
    if manifest:
        need(log.size == manifest["chunks"], "the spine does not end where the manifest does")
        need(salted(head["salt"], log.size, log.root()) == manifest["root"], "the spine does not lead to the manifest's root")
    return roots


def anchored(proof, genesis):
    """Checks a proof; the head, the manifest, and the checkpoints as (size, root, height, on the spine)."""
    header = final_header(proof["finality"], genesis)
    head = open_head(proof["head"])
    need((proof["manifest"] is None) == (proof["closed"] is None), "a manifest without a closing, or the other way round")
    manifest = open_manifest(proof["manifest"], head) if proof["manifest"] is not None else None
    roots = spine_roots(proof["spine"], head, manifest)
    opened, closed, registered = proof["opened"], proof["closed"], proof["registered"]
    if registered:
        bare = not proof["checkpoints"] and not proof["batches"] and proof["start"] == bytes(32)
        need(bare and closed == opened, "a registered session has no more steps")
    checkpoints = []

    def take(size, given, at):
        root = roots.get(size, given)
        need(root is not None, f"the checkpoint over {size} chunks has no root")
        need(given is None or given == root, f"the checkpoint over {size} chunks is of another log than the manifest's")
        need(manifest is None or size <= manifest["chunks"], f"the checkpoint over {size} chunks is beyond the manifest's end")
        checkpoints.append((size, root, at["height"], size in roots))
        return root

    session = head["session"] + bytes(16)
    batches = proof["start"]
    for step in proof["batches"]:
        at = step["at"]
        if "root" in step:
            root = step["root"]
        else:
            size, given, path = step["leaf"]
            need((at["height"], at["time"]) >= (opened["height"], opened["time"]), "a batch is older than the session")
            root = keccak(words(session, size, take(size, given, at)))
            for neighbour in path:
                root = keccak(min(root, neighbour), max(root, neighbour))
        batches = words(4, batches, root, step["count"], at["height"], at["time"])

    policy = bytes(32) if registered else head["policy"]
    log = words(1, session, proof["owner"], proof["opener"], head["key"], policy, opened["height"], opened["time"])
    for step in proof["checkpoints"]:
        at = step["at"]
        log = words(2, log, step["size"], take(step["size"], step["root"], at), at["height"], at["time"])
    if closed:
        log = words(3, log, manifest["hash"], manifest["root"], manifest["chunks"], batches, closed["height"], closed["time"])

    at = int.from_bytes(words(session, 0), "big")
    slots = [(at + 1) % 2**256]
    if not closed and proof["batches"]:
        slots.append(int.from_bytes(words(proof["opener"], 2), "big"))
    need(closed or proof["batches"] or proof["start"] == bytes(32), "batches that nothing proves")
    stored = state_words(proof["state"], header, slots)
    need(stored[0] == log, "what the proof says happened to the session is not what the chain has of it")
    need(len(stored) == 1 or stored[1] == batches, "the proof's batches are not those that the chain has")
    if proof["transaction"] is not None:
        need(closed is not None, "a transaction of an open session")
        end = manifest["hash"] + manifest["root"] + manifest["chunks"].to_bytes(32, "big")
        if registered:
            call = bytes.fromhex("6bd53104") + session + proof["owner"].rjust(32, b"\0") + head["key"] + end
        else:
            call = bytes.fromhex("659f24ee") + session + end
        check_transaction(proof["transaction"], header, closed, call)
    return head, manifest, checkpoints, header


def verify(recording, proof, genesis):
    """Refuses, or says in one line what is proven."""
    proof = open_proof(proof)
    head, manifest, checkpoints, header = anchored(proof, open_genesis(genesis))
    recording = open_recording(recording)
    need(recording["head"]["session"] == head["session"], "the recording is of another session")
    need(recording["head"]["bytes"] == head["bytes"], "the recording has another head than the one that was anchored")
    chunks, whole = recording["manifest"]["chunks"], recording["kind"] == 0
    need(all(size <= chunks for size, *_ in checkpoints), "the recording was cut back to an earlier point")
    if whole:
        log, wanted = Log(), {}
        for size, root, *_ in checkpoints:
            wanted.setdefault(size, set()).add(root)
        for i in range(chunks + 1):
            for root in wanted.get(i, ()):
                need(salted(head["salt"], i, log.root()) == root, f"the first {i} chunks were changed after they were anchored")
            if i < chunks:
                log.push(0, leaf(i, recording["addresses"][i]))
    if manifest is None:
        need(whole, "a disclosure needs a proof of a closed session")
    else:
        need(recording["manifest"]["bytes"] == manifest["bytes"], "the recording has another manifest than the one that was anchored")
    state = f"closed in block {proof['closed']['height']}" if proof["closed"] else f"still open in block {header['height']}"
    return f"session {head['session'].hex()} of host {head['host'].hex()}: {len(checkpoints)} checkpoints, {state}"


def main():
    parser = argparse.ArgumentParser(description="Verifies a Lucid recording with its proof, offline.")
    parser.add_argument("recording")
    parser.add_argument("proof")
    parser.add_argument("--genesis", required=True, help="the chain's genesis file, from a source that you trust")
    args = parser.parse_args()
    try:
        recording, proof, genesis = (pathlib.Path(path).read_bytes() for path in (args.recording, args.proof, args.genesis))
        print("verified:", verify(recording, proof, genesis))
    except (Refused, OSError) as why:
        print(f"refused: {why}")
        sys.exit(1)


if __name__ == "__main__":
    main()

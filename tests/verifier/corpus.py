"""Verifies every case of a corpus, and fails where the answer is not the one that is stored."""

import json
import pathlib
import sys

from verify import Refused, verify


def main():
    folder = pathlib.Path(sys.argv[1])
    cases = json.loads((folder / "cases.json").read_text())
    disagree = 0
    for case in cases:
        recording, proof, genesis = ((folder / case[part]).read_bytes() for part in ("recording", "proof", "genesis"))
        try:
            verify(recording, proof, genesis)
            said = None
        except Refused as refusal:
            said = str(refusal)
        agrees = (said is None) == (case["refusal"] is None)
        disagree += not agrees
        print(f"{'ok' if agrees else 'DISAGREES'}: {case['name']}: {said or 'verified'}")
    if disagree:
        print(f"{disagree} of {len(cases)} cases are answered otherwise than cases.json says", file=sys.stderr)
    sys.exit(1 if disagree else 0)


if __name__ == "__main__":
    main()

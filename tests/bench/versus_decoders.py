#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""versus.py, the referee, on workloads-decoders.json with the peers of peers_decoders.py; options are its own."""

import argparse, os, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import versus


def main():
    ap = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ap.add_argument("--attn")
    attn = ap.parse_known_args()[0].attn
    lines, peers = versus.lines, os.path.join(HERE, "peers.py")

    def lines_of(command, env):
        if peers in command:  # those need the program, whose numbers they must compute
            own = os.path.join(HERE, "peers_decoders.py")
            command = [own if c == peers else c for c in command] + ["--attn", attn]
        return lines(command, env)

    versus.lines = lines_of
    sys.argv[1:1] = ["--workloads", os.path.join(HERE, "workloads-decoders.json")]
    sys.argv[1:1] = ["--backends", "eager,ort,compile,transformers"]
    return versus.main()


if __name__ == "__main__":
    sys.exit(main())

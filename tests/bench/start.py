#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long the program takes to start, and what it needs: listing all types, and making a layer of each.

  start.py --attn PATH/TO/attn [--repeats 5]

Runs `attn list` and `attn info TYPE --config EXAMPLE` with an empty cache of verdicts (the first start after an installation tries
every plugin) and with a full one; the shortest of the repeats counts. Prints time, processor time and memory of each, and the sizes
of the libraries. Exit code 1 when a cold start takes more than 300 ms or a warm one more than 30 ms.
"""

import argparse, glob, json, os, subprocess, sys, tempfile, time

COLD_MS, WARM_MS = 300, 30


def run(command, cache):
    """(wall ms, processor ms, largest resident MB) of one process."""
    env = dict(os.environ, XDG_CACHE_HOME=cache)
    begin = time.perf_counter()
    p = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(p.pid, 0)
    wall = time.perf_counter() - begin
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        sys.exit("%s: exit code %d" % (" ".join(command), p.returncode))
    return wall * 1e3, (used.ru_utime + used.ru_stime) * 1e3, used.ru_maxrss / 1024


def least(command, cold, repeats):
    with tempfile.TemporaryDirectory() as full:
        run(command, full)
        runs = []
        for _ in range(repeats):
            if cold:
                with tempfile.TemporaryDirectory() as empty:
                    runs.append(run(command, empty))
            else:
                runs.append(run(command, full))
        return min(runs)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--attn", required=True)
    ap.add_argument("--repeats", type=int, default=5)
    a = ap.parse_args()
    plugins = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../plugins")
    commands = {"list of all types": [a.attn, "list"]}
    for path in sorted(glob.glob(os.path.join(plugins, "*/example.json"))):
        kind = json.load(open(path))["type"]
        commands["a layer of " + kind] = [a.attn, "info", kind, "--config", path]
    slow = 0
    print("| what | cold ms | processor | warm ms | processor | memory MB |\n|---|---|---|---|---|---|")
    for name, command in commands.items():
        cold, warm = least(command, True, a.repeats), least(command, False, a.repeats)
        late = cold[0] > COLD_MS or warm[0] > WARM_MS
        slow += late
        print("| %s%s | %.0f | %.0f | %.1f | %.1f | %.1f |" % (
            name, " (slow)" if late else "", cold[0], cold[1], warm[0], warm[1], warm[2]))  # fmt: skip
    print("\n| file | MB |\n|---|---|")
    top = os.path.dirname(os.path.dirname(os.path.realpath(a.attn)))
    files = [os.path.realpath(a.attn)] + glob.glob(os.path.join(top, "lib/libattn*.so*")) + glob.glob(os.path.join(top, "lib/attn/plugins/*.so"))
    sizes = {os.path.realpath(f): os.path.getsize(f) / 1e6 for f in files}
    for f, size in sorted(sizes.items(), key=lambda x: -x[1]):
        print("| %s | %.2f |" % (os.path.relpath(f, top), size))
    print("| all | %.2f |" % sum(sizes.values()))
    print("\n%d passed, %d failed" % (len(commands) - slow, slow))
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())

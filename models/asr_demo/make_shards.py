"""Make the shards of spoken sentences that training reads; those already there are kept.

    python make_shards.py WORK/shards --last 25 --jobs 2

Shard n has seed n. Each is made by a process of its own, because libespeak-ng keeps global state
and may crash; what crashed is made again with espeak-ng's standard voices alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

SYNTHESISE = Path(__file__).parent / "synthesise.py"


def make(folder: Path, sentences: int, seed: int) -> bool:
    """Make shard `seed` unless it is there. Returns whether it is there now."""
    out = folder / f"s{seed:03d}"
    if out.with_suffix(".npy").exists():
        return True
    one_thread = ("env", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1")
    command = [*one_thread, sys.executable, SYNTHESISE, out, "--seed", str(seed)]
    command += ["--sentences", str(sentences)]
    for voices in ((), ("--standard-voices",)):
        ended = subprocess.run([*command, *voices], check=False, capture_output=True, text=True)
        if ended.returncode == 0:
            print(f"{out.name}: {sentences} sentences {' '.join(voices)}".rstrip(), flush=True)
            return True
        reason = ended.stderr.strip().splitlines()[-1:] or ["no message"]
        print(f"{out.name}: ended with {ended.returncode} ({reason[0]})", file=sys.stderr)
    return False


def main() -> None:
    """Make shards FIRST to LAST, JOBS at a time. Exit code 1 if one could not be made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--last", type=int, required=True)
    parser.add_argument("--sentences", type=int, default=5000, help="in each shard")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        seeds = range(args.first, args.last + 1)
        made = list(pool.map(partial(make, args.folder, args.sentences), seeds))
    sys.exit(0 if all(made) else 1)


if __name__ == "__main__":
    main()

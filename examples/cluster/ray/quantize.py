#!/usr/bin/env python3
"""Quantizes a model in shares on a Ray cluster and joins them.

    python quantize.py MODEL OUT SHARES [--address auto] [--cpus 8] [--memory-gb 4] [--retries 3] [-- OPTION...]

Options after `--` are those of `arrow-quant quantize`. MODEL and OUT are on a file system that all nodes share. Shares are in OUT.shares,
which can be removed afterwards; the same call once more makes only what is missing.

AQ_CLI is the command to use on the nodes, as a shell would read it, `npx arrow-quant` by default. A variable named ARROW_QUANT_CLI would be
taken for an option of the command.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import ray


class ShareFailed(Exception):
    """The same call may succeed later."""


class ShareImpossible(Exception):
    """The same call would fail again."""


def run(command: list[str]) -> dict:
    """What the command line prints with --json: `report` or `error`. A process that was killed prints nothing."""
    done = subprocess.run([*command, "--json", "--quiet"], stdout=subprocess.PIPE, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        message = "ended without an error of its own"
        return {"ok": False, "error": {"code": f"exit status {done.returncode}", "message": message, "retryable": True}}


# max_retries alone is for a worker or a node that is lost. An exception is tried again only where it is named here.
@ray.remote(retry_exceptions=[ShareFailed])
def quantize_share(cli: list[str], model: str, shares: str, number: int, count: int, cpus: int, options: list[str]) -> str:
    share = Path(shares) / str(number)
    command = [*cli, "quantize", model, "-o", str(share), "--partition", f"{number}/{count}", "--resume"]
    command += ["--num-threads", str(cpus), *options]
    where = f"share {number}/{count} on {ray.util.get_node_ip_address()}"
    # A share has its name only when it is complete, be it by the command of a worker that was lost.
    while not (share / "arrow-quant-share.jsonl").is_file():
        print(f"{where}: begins", flush=True)
        answer = run(command)
        if answer["ok"]:
            resumed = any(warning["code"] == "AQ_WARN_RESUMED" for warning in answer["report"]["warnings"])
            return f"{where}: done{', from where it had stopped' if resumed else ''}"
        error = answer["error"]
        if error["code"] == "AQ_OUTPUT_EXISTS" and (share / "arrow-quant-share.jsonl").is_file():
            break  # since the line above
        if error["code"] == "AQ_OUTPUT_BUSY":
            # That command still runs. It ends with the share, or with less to do for this one.
            print(f"{where}: waits for the command of a lost worker", flush=True)
            time.sleep(5)
            continue
        message = f"{where}: {error['code']}: {error['message']}"
        print(message, flush=True)
        raise (ShareFailed if error["retryable"] else ShareImpossible)(message)
    return f"{where}: is there"


def keep_request(shares: Path, request: list[str]) -> None:
    """Shares of an earlier call with other options would fit together and be joined into what nobody asked for now."""
    shares.mkdir(parents=True, exist_ok=True)
    file, text = shares / "request", shlex.join(request)
    if file.exists() and file.read_text() != text:
        sys.exit(f"{shares} is of another call; remove it or choose another OUT\n  then  {file.read_text()}\n  now   {text}")
    file.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("model", type=os.path.abspath)
    parser.add_argument("out", type=os.path.abspath)
    parser.add_argument("shares", type=int)
    parser.add_argument("--address", help="of the cluster; without it, one of this machine alone is started")
    parser.add_argument("--cpus", type=int, default=8, help="for each share")
    parser.add_argument("--memory-gb", type=float, default=4, help="for each share; what Ray plans with, not a limit")
    parser.add_argument("--retries", type=int, default=3, help="of each share")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, options = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    if os.path.lexists(args.out):
        sys.exit(f"{args.out} exists")
    shares = Path(f"{args.out}.shares")
    keep_request(shares, [args.model, str(args.shares), *options])

    cli = shlex.split(os.environ.get("AQ_CLI", "npx arrow-quant"))
    ray.init(address=args.address, include_dashboard=False if args.address is None else None)
    task = quantize_share.options(
        num_cpus=args.cpus,
        memory=int(args.memory_gb * 2**30),
        max_retries=args.retries,
        # A share reads its part of the model and takes whole cores: better on as many machines as there are.
        scheduling_strategy="SPREAD",
    )
    numbers = range(1, args.shares + 1)
    waiting = [task.remote(cli, args.model, str(shares), n, args.shares, args.cpus, options) for n in numbers]
    failed = 0
    while waiting:
        done, waiting = ray.wait(waiting)
        try:
            print(ray.get(done[0]), flush=True)
        except ray.exceptions.RayError as error:  # the others go on: what they make is there for the next call
            failed += 1
            print(error, file=sys.stderr, flush=True)
    ray.shutdown()
    if failed:
        sys.exit(f"{failed} of {args.shares} shares failed; the same call once more makes only what is missing")

    folders = [str(shares / str(n)) for n in numbers]
    answer = run([*cli, "merge", *folders, "-o", args.out, "--model", args.model])
    if not answer["ok"]:
        sys.exit(f"merge: {answer['error']['code']}: {answer['error']['message']}")
    print(f"joined into {args.out}")


if __name__ == "__main__":
    main()

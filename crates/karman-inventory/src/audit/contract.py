"""Imports what an image promises. JSON on standard input, one JSON object a line on standard output.

Everything is tried in one child first, which is fast. What fails is tried again in a process of its own, since
libraries that were imported before may stand in its way; only what fails there too is told. This process imports nothing:
libraries replace threads and processes by their own (eventlet), and some end the process.
"""

import concurrent.futures
import importlib
import json
import os
import subprocess
import sys

ALONE = """
import importlib, sys
module, _, attribute = sys.argv[1].partition(":")
found = importlib.import_module(module)
for name in filter(None, attribute.split(".")):
    found = getattr(found, name)
"""
# What a script raises when its installation is broken; it may raise anything else at options it does not know.
BROKEN = (
    "AttributeError",
    "ImportError",
    "ModuleNotFoundError",
    "NameError",
    "PackageNotFoundError",
    "DistributionNotFound",
    "SyntaxError",
    "VersionConflict",
)
IMPORT_SECONDS = 120
RUN_SECONDS = 60


def main():
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Libraries may write anywhere; nothing of that is an answer.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)

    def failed(check, subject, target, error):
        answer = {"kind": "failed", "check": check, "subject": subject, "target": target, "error": error}
        print(json.dumps(answer), file=answers, flush=True)

    questions = [("script", q) for q in request["scripts"]] + [("entry-point", q) for q in request["entry_points"]]
    imported = importable([q["target"] for _, q in questions])
    doubtful = [question for n, question in enumerate(questions) if n not in imported]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (check, q), error in zip(doubtful, pool.map(lambda one: alone(one[1]["target"]), doubtful)):
            if error:
                failed(check, q["subject"], q["target"], error)
        for script, error in zip(request["run"], pool.map(run, request["run"])):
            if error:
                failed("run", script, script, error)
    for command in request["commands"]:
        if error := outcome(command["run"], RUN_SECONDS):
            failed("command", command["subject"], command["run"][0], error)
    end = {"kind": "end", "tag": sys.implementation.cache_tag, "path": [p for p in sys.path if os.path.isdir(p)]}
    print(json.dumps(end), file=answers, flush=True)


def importable(targets):
    """Numbers of the targets that a child imports, one after the other, before something ends it."""
    read, write = os.pipe()
    if os.fork() == 0:
        for number, target in enumerate(targets):
            if imports(target):
                os.write(write, b"%d\n" % number)
        # Threads of imported libraries must not keep the process.
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as numbers:
        return {int(line) for line in numbers}


def imports(target):
    module, _, attribute = target.partition(":")
    try:
        found = importlib.import_module(module)
        for name in filter(None, attribute.split(".")):
            found = getattr(found, name)
    except BaseException:
        return False
    return True


def alone(target):
    return outcome([sys.executable, "-c", ALONE, target], IMPORT_SECONDS)


def run(script):
    """A script that knows neither option fails in its own way; only a broken installation is told."""
    for option in ("--version", "--help"):
        error = outcome([script, option], RUN_SECONDS)
        if error is None:
            return None
        kind = error.split(":")[0].split(".")[-1]
        if kind in BROKEN:
            return error
    return None


def outcome(command, seconds):
    """Nothing, or the last line of what went wrong."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    return lines[-1][:300] + f" (code {done.returncode})"


main()

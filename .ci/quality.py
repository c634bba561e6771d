"""Search quality on the judged collections beside the project, against the bounds the project promises.

usage: quality.py GLEANER DATA [SET...] [--full]

Runs `gleaner eval` per set. The built-in model embeds about 25 passages a second on two cores, so the larger
sets run here with the lexical leg only; all of them run in full with `--full`.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

# set, whether CI runs the model on it, lowest nDCG@10 by mode
BOUNDS = [
    ("scifact", False, {"lexical": 0.665, "dense": 0.63, "hybrid": 0.72}),
    ("cranfield", True, {"hybrid": 0.405}),
    ("cisi", True, {"hybrid": 0.445}),
    ("cmrc2018", False, {"lexical": 0.95}),
    ("xquad_all", False, {"lexical": 0.89}),
]
LEXICAL_ONLY = '[embedding]\nprovider = "none"\n'


def evaluate(gleaner, folder, lexical_only):
    command = [gleaner, "eval", str(folder), "--json"]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as definition:
        definition.write(LEXICAL_ONLY)
        definition.flush()
        if lexical_only:
            command += ["--definition", definition.name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--full"]
    full = "--full" in sys.argv
    gleaner, data, *wanted = arguments
    failures, better, hybrids = [], [], []
    for name, with_model, bounds in BOUNDS:
        if wanted and name not in wanted:
            continue
        lexical_only = not (full or with_model)
        report = evaluate(gleaner, pathlib.Path(data) / name, lexical_only)
        scores = {mode: values["ndcg@10"] for mode, values in report["modes"].items()}
        print(name, json.dumps(report), flush=True)
        for mode, bound in bounds.items():
            if mode in scores and scores[mode] < bound:
                failures.append(f"{name} {mode}: nDCG@10 {scores[mode]:.4f} < {bound}")
        if "hybrid" in scores:
            leg = max(scores["lexical"], scores["dense"])
            better.append(leg)
            hybrids.append(scores["hybrid"])
            if scores["hybrid"] < leg - 0.01:
                failures.append(f"{name}: hybrid {scores['hybrid']:.4f} is below its better leg, {leg:.4f}")
    if full and not wanted:
        gain = (sum(hybrids) - sum(better)) / len(hybrids)
        print(f"hybrid over the better leg, mean of {len(hybrids)} sets: {gain:+.4f}")
        if gain < 0.015:
            failures.append(f"hybrid gains {gain:.4f} over the better legs, not .015")
    for failure in failures:
        print("FAILED", failure)
    sys.exit(1 if failures else 0)


main()

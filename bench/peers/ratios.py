"""Medians and ratios of the times that `run` collected: lines of run, tool, first pass, second pass."""

import statistics
import sys

times: dict[str, list[tuple[float, float]]] = {}
with open(sys.argv[1], encoding="utf-8") as file:
    for line in file:
        _, tool, first, second = line.split()
        times.setdefault(tool, []).append((float(first), float(second)))

print(f"{sys.argv[2]} hosts, median of {min(len(t) for t in times.values())} runs, wall seconds")
print(f"{'tool':10} {'first':>8} {'second':>8} {'first / rollgate':>18} {'second / rollgate':>18}")
medians = {tool: [statistics.median(column) for column in zip(*runs)] for tool, runs in times.items()}
base = medians.get("rollgate")
for tool, (first, second) in medians.items():
    ratio = [f"{value / ours:.2f}" for value, ours in zip((first, second), base)] if base else ["-", "-"]
    print(f"{tool:10} {first:8.2f} {second:8.2f} {ratio[0]:>18} {ratio[1]:>18}")

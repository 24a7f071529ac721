"""The medians of bench/migrate, and what they are to each other: ratios.py RESULTS INODES"""
import statistics, sys

results = {}
for line in open(sys.argv[1]):
    _, tool, *numbers = line.split()
    results.setdefault(tool, []).append([float(number) for number in numbers])
median = {tool: [statistics.median(column) for column in zip(*rows)] for tool, rows in results.items()}
print(f"{sys.argv[2]} inodes, seconds, medians of {len(results['move'])} interleaved runs")
for tool, (seconds, *_) in sorted(median.items(), key=lambda one: one[1]):
    print(f"{tool:8} {seconds:8.2f}   {median['recipe'][0] / seconds:6.1f} times as fast as the recipe   {seconds / median['floor'][0]:6.2f} floors")
for tool in ("move", "copy"):
    print(f"{tool}: manifests {median[tool][1]:.2f} s; peak memory {max(row[2] for row in results[tool]) / 1024:.0f} MB")

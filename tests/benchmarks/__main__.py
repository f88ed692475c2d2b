"""Run every ``bench_*.py`` beside this file and print what it measured: ``make bench``.

A benchmark is one file with ``run() -> list[tuple[str, float, str]]``: name, ratio, remark. Figures are
ratios of times measured in one run, since absolute times say more about the machine than the code.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Run the benchmarks whose names contain one of the arguments; all without arguments."""
    wanted = sys.argv[1:]
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        if wanted and not any(word in path.stem for word in wanted):
            continue
        specification = importlib.util.spec_from_file_location(path.stem, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        print(f"{path.stem}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        for name, ratio, remark in module.run():
            print(f"  {ratio:10.2f} ×  {name}  ({remark})", flush=True)


if __name__ == "__main__":
    main()

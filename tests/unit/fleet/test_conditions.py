"""Conditions where they are evaluated: in a program that has no rich."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_RICH = """
import sys
sys.modules["rich"] = None
from fleet.conditions import compile_condition
print(compile_condition("predicate.n == 3").program.execute({"predicate": {"n": 3}}), "prompt_toolkit" in sys.modules)
"""


def test_a_satellite_evaluates_conditions_without_the_library_s_command_line() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_RICH], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["True", "False"], "")

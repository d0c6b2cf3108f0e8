"""Answers are held against their shapes in the loop and in threads: whoever comes first, the process lives."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST = """
import sys, threading
sys.setswitchinterval(1e-7)
from mcpwatch.checks import shapes

TOOLS = [{"name": "a", "inputSchema": {"type": "object", "properties": {"x": {}}}, "annotations": {"title": "x"}}]
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "a", "version": "1"}}
together, wrong = threading.Barrier(6), []

def held(shape, value):
    together.wait()
    wrong.append(shapes.unfit(shape, value))

asked = [(list[shapes.ListedTool], TOOLS), (list[shapes.ModernTool], TOOLS), (shapes.Initialized, HELLO)] * 2
threads = [threading.Thread(target=held, args=one) for one in asked]
for one in threads: one.start()
for one in threads: one.join()
print(wrong)
"""


@pytest.mark.sample
@pytest.mark.parametrize("time", range(6))
def test_threads_that_are_the_first_to_use_a_shape_do_not_end_the_process(time: int) -> None:
    """Msgspec builds what it knows of a class at the first use, and crashed in half of these runs where another was in it."""
    told = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, timeout=50, check=False)
    assert (told.returncode, told.stdout.strip()) == (0, str([""] * 6)), f"{time}: {told.stderr}"

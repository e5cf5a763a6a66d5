"""How the unified model draws where nothing else is asked: one choice for its evaluation, its command and its page.

It stands outside `workbench.unified` because the dashboard and the command line read it before torch is loaded.
"""

from __future__ import annotations

TEMPERATURE, GUIDANCE = 0.4, 3.0
"""Chosen on 100 drawings a task with a seed of their own (docs/unified.md), never on the seed that is reported."""

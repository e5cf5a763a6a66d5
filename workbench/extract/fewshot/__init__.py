"""Few-shot entity extraction, measured: the MetaNER paper's protocol for any engine, and what it is compared with.

from workbench.extract.fewshot import Method, Protocol, open_sets, run
run([Method("metaner", seeds=3)], open_sets("data"), Protocol(shots=1, limit=500))
"""

from workbench.extract.fewshot.episodes import SETS, FewShotSet, open_sets
from workbench.extract.fewshot.evaluation import Method, Protocol, Watch, run
from workbench.extract.fewshot.scoring import agreement, episode_count, over_seeds
from workbench.extract.fewshot.store import Store
from workbench.extract.fewshot.tuning import Tuning, fine_tuned

__all__ = [
    "SETS",
    "FewShotSet",
    "Method",
    "Protocol",
    "Store",
    "Tuning",
    "Watch",
    "agreement",
    "episode_count",
    "fine_tuned",
    "open_sets",
    "over_seeds",
    "run",
]

"""What the tasks of a service mean whose ended tasks the swarm starts again: which is the present one, what is wrong. Pure.

Owns: when the member as a whole ended or began, and the one cause for what is missing. Must not know: how a manager is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mcpwatch.runtimes.swarm.task import End, SwarmNode, Task, ended, node_name, refusal

LOOPING = 3
"""Failed tasks in the history of a service that wants one more: it ends again and again. A swarm keeps five for each replica."""
_KILLED = 137


@dataclass(frozen=True, slots=True)
class Over:
    """The task that was the present one ended, and no other runs."""

    end: End


@dataclass(frozen=True, slots=True)
class Begun:
    """A task runs that nobody here was told of."""

    task: Task


Step = Over | Begun


def living(tasks: Iterable[Task], nodes: Mapping[str, SwarmNode]) -> tuple[Task, ...]:
    """The tasks that run and shall go on, as far as the swarm knows, the oldest first."""
    found = (task for task in tasks if task.state == "running" and task.desired == "running" and ended(task, nodes) is None)
    return tuple(sorted(found, key=lambda task: (task.created, task.id)))


def advance(present: str, tasks: Sequence[Task], nodes: Mapping[str, SwarmNode], replicas: int) -> tuple[str, tuple[Step, ...]]:
    """The id of the present task after a look (empty: none runs), and what has to be told.

    Of several replicas another one takes over unnoticed: the member as a whole never ended.
    """
    run = living(tasks, nodes)
    if any(task.id == present for task in run):
        return present, ()
    last = next((task for task in tasks if task.id == present), None)
    over = Over(ended(last, nodes) or End("the swarm replaces it")) if last else Over(End("its task is gone"))
    if not run:
        return "", (over,) if present else ()
    if not present:
        return run[0].id, (Begun(run[0]),)
    return run[0].id, () if replicas > 1 else (over, Begun(run[0]))


def shortage(tasks: Sequence[Task], nodes: Mapping[str, SwarmNode], replicas: int, image: str) -> tuple[str, str]:
    """Why fewer tasks run than are wanted: the cause's name and one line. Both empty when nothing is missing or known."""
    run = living(tasks, nodes)
    missing = replicas - len(run)
    if missing <= 0:
        return "", ""
    count = f"{len(run)} of {replicas} tasks run: "
    newest = sorted((task for task in tasks if task not in run), key=lambda task: task.created, reverse=True)
    waiting = next((task for task in newest if not task.over and task.state != "running"), None)
    if waiting is not None and "no suitable node" in waiting.words:
        cause, words = refusal(waiting, nodes, image)
        return cause, count + words
    failed = [task for task in newest if task.state in {"failed", "rejected"}]
    if failed and (named := refusal(failed[0], nodes, image))[0]:
        return named[0], count + named[1]
    if len(failed) >= LOOPING * missing:
        return _looping(failed, nodes, count)
    for task in newest:
        node = nodes.get(task.node)
        if node is not None and node.down and task.desired != "remove" and not task.over:
            return "node_not_ready", f"{count}node {node_name(node, task.node)} is down; the swarm moves what ran there"
    return "", ""


def unfinished(tasks: Sequence[Task], nodes: Mapping[str, SwarmNode], *, rolling: bool) -> str:
    """Why a start or an update has not come to its end although nothing is named: what the newest task does."""
    newest = max(tasks, key=lambda task: task.created, default=None)
    if newest is None:
        return "the swarm made no task of it; look at its managers: docker node ls"
    where = f" on node {node_name(nodes.get(newest.node), newest.node)}" if newest.node else ""
    what = "the update has not come to its end" if rolling else "no task of it runs yet"
    words = f": {newest.words}" if newest.words not in {"", newest.state} else ""
    probed = "; it counts as running when its probe succeeded" if newest.state == "starting" else ""
    return f"{what}, the newest task{where} is {newest.state}{words}{probed}; raise start_grace if it needs longer"


def _looping(failed: Sequence[Task], nodes: Mapping[str, SwarmNode], count: str) -> tuple[str, str]:
    last = failed[0]
    end = ended(last, nodes)
    how = f"exit code {last.code}" if last.code is not None else last.words or last.state
    where = f", {end.detail}" if end else ""
    killed = "; code 137 is also what an end for too much memory looks like" if last.code == _KILLED else ""
    return "crash_loop", f"{count}its tasks end again and again ({how}{where}){killed}"

# SPDX-License-Identifier: Apache-2.0
"""A run as it goes: progress bar, lines for a log, TensorBoard."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mtl_perception.conventions import InvalidInput
from mtl_perception.training.engine import Step
from mtl_perception.training.run_state import CURVE_EVERY, RunState

logger = logging.getLogger(__name__)

Tell = Callable[[RunState, Step], None]


@contextmanager
def watching(folder: Path, steps: int, tensorboard: bool = False) -> Iterator[Tell]:
    """Return what shows a run's steps: a bar on a terminal, and lines where there is none.

    Raises:
        InvalidInput: TensorBoard is wanted and not installed.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        board = stack.enter_context(_board(folder)) if tensorboard else None
        quiet = not console.is_terminal
        bar = stack.enter_context(Progress(*columns, console=console, disable=quiet))
        task = bar.add_task("training", total=steps)
        seen, began, first = 0, time.monotonic(), None

        def tell(state: RunState, step: Step) -> None:
            nonlocal seen, first
            first = state.step - 1 if first is None else first
            bar.update(task, completed=state.step, description=_line(state.recent))
            if state.step % CURVE_EVERY == 0 or state.step == steps:
                pace = (time.monotonic() - began) / (state.step - first)
                if quiet:
                    line = f"step {state.step}/{steps} {_line(state.recent)} {pace:.2f} s/step"
                    console.print(line, soft_wrap=True, highlight=False)
                if board is not None:
                    for name, value in state.recent.items():
                        board.add_scalar(f"train/{name}", value, state.step)
            for judged in state.judged[seen:]:
                console.print(_judged(judged), soft_wrap=True, highlight=False)
                if board is not None:
                    for name, value in judged.items():
                        board.add_scalar(f"held_out/{name}", value, judged["step"])
            seen = len(state.judged)

        yield tell


def _line(recent: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in recent.items())


def _judged(judged: dict[str, Any]) -> str:
    told = " ".join(f"{k} {v:.4g}" for k, v in judged.items() if k != "step")
    return f"step {judged['step']} held out: {told}"


@contextmanager
def _board(folder: Path) -> Iterator[Any]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InvalidInput("TensorBoard is not installed: pip install tensorboard") from None
    board = SummaryWriter(str(folder / "tensorboard"))
    try:
        yield board
    finally:
        board.close()

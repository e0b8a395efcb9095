# SPDX-License-Identifier: Apache-2.0
"""Running a node: parameters from dataclasses, the log bridge, publishing, start to clean stop."""

import difflib
import logging
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import MISSING, Field, fields, replace
from types import FrameType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy._rclpy_pybind11 import RCLError, UnknownROSArgsError
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from mtl_perception.conventions import DenseSlamError, InvalidInput

ConfigT = TypeVar("ConfigT")

PUBLISH_FAILURES: Counter[str] = Counter()
"""Messages of this process that the middleware would not take, by topic."""

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

_CORE_LOGGERS = ("mtl_perception", "slam_fusion")
_POLL_S = 0.1  # how long a signal may wait until the executor looks

_log = logging.getLogger(__name__)


def declare(node: Node, config_type: type[ConfigT], live: Collection[str] = frozenset()) -> ConfigT:
    """Declare one ROS parameter per field of a dataclass and return it filled in.

    Fields are str, int, float, bool, or a list or tuple of one of them; the field's default is
    the parameter's. A whole number is accepted where a float is wanted.

    Args:
        node: whose parameters they are.
        config_type: the dataclass.
        live: those that the node follows when they are set; the others are read-only.

    Raises:
        InvalidInput: a parameter of the wrong type or out of range (the dataclass's
            ``__post_init__`` says so), or one that the node does not know.
    """
    _refuse_unknown(node, {field.name for field in fields(config_type)})
    return _read_config(node, config_type, live)


def read(node: Node, config_type: type[ConfigT]) -> ConfigT:
    """Return a dataclass filled in with what its parameters are now, after ``declare``."""
    return _read_config(node, config_type)


def with_values(config: ConfigT, parameters: Iterable[Parameter]) -> ConfigT:
    """Return the dataclass with those of the parameters that are fields of it.

    Raises:
        InvalidInput: a value of the wrong type or out of range, or a parameter to be deleted.
    """
    hints = get_type_hints(type(config))
    ours = [parameter for parameter in parameters if parameter.name in hints]
    for parameter in ours:
        if parameter.type_ == Parameter.Type.NOT_SET:
            raise InvalidInput(f"parameter {parameter.name} cannot be deleted")
    return replace(config, **{p.name: _typed(p.name, p.value, hints[p.name]) for p in ours})


def declare_all(node: Node, *config_types: type) -> tuple[Any, ...]:
    """Do ``declare`` for a node whose parameters come from several dataclasses.

    A field that several of them have is one parameter. All are read-only.

    Raises:
        InvalidInput: as ``declare``.
    """
    own_names = {field.name for config_type in config_types for field in fields(config_type)}
    _refuse_unknown(node, own_names)
    return tuple(_read_config(node, config_type) for config_type in config_types)


def forward_logging(node: Node) -> None:
    """Send what the ROS-free cores log to the node's logger, whose level decides."""
    for name in _CORE_LOGGERS:
        core = logging.getLogger(name)
        for handler in [h for h in core.handlers if isinstance(h, _NodeHandler)]:
            core.removeHandler(handler)
        core.addHandler(_NodeHandler(node))
        core.setLevel(logging.DEBUG)


def publish(publisher: Any, msg: Any) -> bool:
    """Publish, and say whether the middleware took the message.

    Fast DDS refuses messages under flood; that must not stop a node. Failures are counted in
    ``PUBLISH_FAILURES`` and logged when a topic has its 1st, 10th, 100th ... one.
    """
    try:
        publisher.publish(msg)
    except RCLError as error:
        topic = publisher.topic_name
        PUBLISH_FAILURES[topic] += 1
        count = PUBLISH_FAILURES[topic]
        if str(count).strip("0") == "1":
            _log.warning("could not publish on %s (%d so far): %s", topic, count, error)
        return False
    return True


def spin(node_type: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT, SIGTERM or a shutdown of its context; return the exit code.

    At the end the node's ``on_shutdown()``, if it has one, is called while publishers and
    services still work. ``ros2 launch`` delivers SIGINT twice: signals that come during the
    clean-up are ignored, so a map that is being saved is saved whole.

    Args:
        node_type: makes the node, after ``rclpy.init``.
        args: command line with ``--ros-args``; ``sys.argv`` by default.

    Returns:
        0, or 2 after a ``DenseSlamError`` (logged as one line), or 130 when interrupted while
        starting.
    """
    logger = get_logger(getattr(node_type, "__name__", "node"))
    with _StopSignals() as stop:
        try:
            _init(args)
            node = node_type()
            try:
                _run(node, stop)
            finally:
                stop.defer()
                _clean_up(node)
        except DenseSlamError as error:
            logger.fatal(str(error))
            return EXIT_BAD_INPUT
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        finally:
            rclpy.try_shutdown()
    return 0


def _init(args: Sequence[str] | None) -> None:
    try:
        # Our own signal handlers: rclpy's would shut the context down before the clean-up.
        rclpy.init(
            args=None if args is None else list(args),
            signal_handler_options=SignalHandlerOptions.NO,
        )
    except (RCLError, UnknownROSArgsError) as error:
        raise InvalidInput(f"ROS arguments or parameter file: {error}") from error


def _run(node: Node, stop: "_StopSignals") -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    stop.defer()
    try:
        while not stop.requested and rclpy.ok():
            executor.spin_once(timeout_sec=_POLL_S)
    except ExternalShutdownException:
        node.get_logger().info("the context was shut down")
    finally:
        executor.remove_node(node)
        executor.shutdown()


def _clean_up(node: Node) -> None:
    try:
        if hasattr(node, "on_shutdown"):
            node.on_shutdown()
    finally:
        node.destroy_node()


class _StopSignals:
    """SIGINT and SIGTERM interrupt the start; after ``defer`` they only ask for a stop."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        self._deferred = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            raise KeyboardInterrupt


class _NodeHandler(logging.Handler):
    """Forwards log records to a node's logger."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        # One call per severity: rclpy ties each line of source to the severity it first had.
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def _refuse_unknown(node: Node, own_names: set[str]) -> None:
    # rclpy drops parameters that nobody declares without a word, and has no public list of them.
    given = node._parameter_overrides
    for name in sorted(given):
        if name in own_names or node.has_parameter(name) or name.startswith("qos_overrides."):
            continue
        near = difflib.get_close_matches(name, own_names, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {sorted(own_names)}"
        raise InvalidInput(f"node {node.get_name()} has no parameter {name!r}: {hint}")


def _read_config(node: Node, config_type: type, live: Collection[str] = frozenset()) -> Any:
    hints = get_type_hints(config_type)
    return config_type(
        **{f.name: _read_field(node, f, hints[f.name], live) for f in fields(config_type)}
    )


def _read_field(node: Node, field: Field[Any], hint: Any, live: Collection[str]) -> Any:
    if node.has_parameter(field.name):
        return _typed(field.name, node.get_parameter(field.name).value, hint)
    default = field.default if field.default_factory is MISSING else field.default_factory()
    descriptor = ParameterDescriptor(
        read_only=field.name not in live,
        dynamic_typing=True,  # types are checked here, with the parameter's name in the message
    )
    value = list(default) if isinstance(default, tuple) else default
    return _typed(field.name, node.declare_parameter(field.name, value, descriptor).value, hint)


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return ``value`` as the type that the field wants, or refuse it by name."""
    container = get_origin(hint)
    if container in (list, tuple):
        if value is None:  # what ROS makes of [] in a parameter file
            return container()
        if isinstance(value, (str, bool, int, float)):
            raise InvalidInput(f"parameter {name}: want a list, got {value!r}")
        return container(_scalar(name, item, get_args(hint)[0]) for item in value)
    return _scalar(name, value, hint)


def _scalar(name: str, value: Any, wanted: type) -> Any:
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise InvalidInput(
            f"parameter {name}: want {wanted.__name__}, got {type(value).__name__} {value!r}"
        )
    return value

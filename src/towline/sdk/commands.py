# SPDX-License-Identifier: Apache-2.0
"""Running commands: accepted at once or rejected, run as a task, answered with what came out."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from towline.errors import NotFound, Refused, Unavailable
from towline.protocols.octo import messages as m
from towline.protocols.octo.declaration import Declaration
from towline.protocols.octo.envelope import Name
from towline.protocols.octo.errors import OctoError, Reason
from towline.protocols.octo.limits import MAX_RESULT_DEPTH, SIGNATURE_BYTES, Limits, too_deep
from towline.protocols.octo.outgoing import render
from towline.protocols.octo.validate import check_command
from towline.sdk.declare import Command, Handler
from towline.sdk.items import as_read

log = logging.getLogger("towline.sdk")

MAX_RUNNING = 8
REMEMBERED = 256
_RESULT = "$.params.commandAcks[0].result"

Ack = Callable[[m.Command, str, str, Any], None]
"""(command, its name, state, result or None)"""


@dataclass(frozen=True, slots=True)
class Call:
    """One command being run.

    :ivar params: as given, by name
    """

    command_id: str
    module: str
    name: str
    source: str
    params: dict[str, str | bool]


class CommandRunner:
    """Runs commands and acknowledges them; an id that comes again is answered again, not run again."""

    def __init__(self, declared: dict[tuple[str, str], Command], ack: Ack) -> None:
        self._declared = declared
        self._ack = ack
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[str, tuple[str, str, Any]] = {}

    def receive(self, command: m.Command, declaration: Declaration) -> None:
        """Accept and start it, or reject it."""
        if command.command_id in self._last:
            name, state, result = self._last[command.command_id]
            self._ack(command, name, state, result)
            return
        if len(command.commands) != 1:
            first = command.commands[0].name if command.commands else ""
            self._finish(command, first, "REJECTED", {"reason": "one command a message is supported"})
            return
        item = command.commands[0]
        given = {param.name: param.value for param in item.params}
        spec = self._declared.get((command.module_name, item.name))
        if spec is None or spec.handler is None:
            reason = f"no command {item.name!r} in module {command.module_name!r}"
            self._finish(command, item.name, "REJECTED", {"reason": reason})
            return
        try:
            values = check_command(declaration, command.module_name, item.name, given)
        except OctoError as exc:
            self._finish(command, item.name, "REJECTED", {"reason": str(exc)})
            return
        params = {value.name: value.value for value in values}
        call = Call(command.command_id, command.module_name, item.name, command.command_source, params)
        refused = self._refusal(spec, call)
        if refused is not None:
            self._finish(command, item.name, "REJECTED", {"reason": _sendable(refused)})
            return
        self._finish(command, item.name, "ACCEPTED", None)
        task = asyncio.create_task(self._run(command, spec.handler, call), name=f"command {item.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what still runs; each is answered ERRORED."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refusal(self, spec: Command, call: Call) -> str | None:
        if len(self._tasks) >= MAX_RUNNING:
            return f"{MAX_RUNNING} commands are running already"
        if spec.refuse is None:
            return None
        try:
            answer: object = spec.refuse(**arguments(spec.refuse, call))
        except Exception as exc:
            log.exception("checking command %s failed", call.name)
            return _words(exc)
        if answer is None or isinstance(answer, str):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()  # or Python warns that nobody awaited it
        # A check that does not work must not let the command through.
        problem = f"refuse= must return a text or None, not {type(answer).__name__}"
        log.error("checking command %s failed: %s", call.name, problem)
        return problem

    async def _run(self, command: m.Command, handler: Handler, call: Call) -> None:
        try:
            returned = await handler(**arguments(handler, call))
        except asyncio.CancelledError:
            self._finish(command, call.name, "ERRORED", {"error": "the plugin is stopping"})
            raise
        except (NotFound, Refused, Unavailable) as exc:  # said on purpose: no traceback
            log.warning("command %s failed: %s", call.name, exc)
            self._finish(command, call.name, "ERRORED", {"error": _sendable(str(exc))})
            return
        except Exception as exc:
            log.exception("command %s failed", call.name)
            self._finish(command, call.name, "ERRORED", {"error": _words(exc)})
            return
        try:
            result = checked_result(call.name, returned)
        except OctoError as exc:  # unanswered otherwise: the agent would refuse the ack
            log.error("the result of command %s cannot be sent: %s", call.name, exc)
            self._finish(command, call.name, "ERRORED", {"error": _sendable(f"the result cannot be sent: {exc}")})
            return
        self._finish(command, call.name, "ACKED", result)

    def _finish(self, command: m.Command, name: str, state: str, result: Any) -> None:
        self._last[command.command_id] = (name, state, result)
        while len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        self._ack(command, name, state, result)


def arguments(function: Callable[..., Any], call: Call) -> dict[str, Any]:
    """The keyword arguments that ``function`` takes from ``call``."""
    given: dict[str, Any] = {name.replace("-", "_"): value for name, value in call.params.items()}
    result: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            return {**given, **result}
        if name == "call":
            result[name] = call
        elif name in given:
            result[name] = given[name]
        elif parameter.default is inspect.Parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
            result[name] = None
    return result


def _words(error: Exception) -> str:
    return _sendable(f"{type(error).__name__}: {error}")


def _sendable(text: str) -> str:
    # A file's name may hold bytes that are no text; no message may hold U+0000.
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def checked_result(name: str, returned: Any) -> dict[str, Any] | None:
    """What a handler returned as the result that is sent: an object; a plain value gets a member of its own.

    :param name: of the command
    :raises OctoError: it is no JSON, or an agent would refuse it
    """
    if returned is None:
        return None
    try:
        plain = msgspec.to_builtins(returned)
    except RecursionError:
        raise _deep() from None
    except Exception as exc:  # objects of any kind have their say in it
        raise OctoError(Reason.SCHEMA, f"is no JSON: {exc}", where=_RESULT) from exc
    result = plain if isinstance(plain, dict) else {"response": plain}
    if too_deep(result, MAX_RESULT_DEPTH):
        raise _deep()
    as_read(Name.COMMAND_ACK, {"commandAcks": [{"name": name, "result": result}]})
    return result


def _deep() -> OctoError:
    return OctoError(
        Reason.SCHEMA, f"objects and arrays are nested deeper than {MAX_RESULT_DEPTH} levels", where=_RESULT
    )


def ack_params(app_guid: str, command: m.Command, name: str, state: str, result: Any, limits: Limits) -> dict[str, Any]:
    """The params of an ack; a result too large for one message becomes an error that says so."""
    item: dict[str, Any] = {"name": name}
    if result is not None:
        item["result"] = result
    params: dict[str, Any] = {
        "appGUID": app_guid,
        "commandId": command.command_id,
        "commandSource": command.command_source,
        "moduleName": command.module_name,
        "commandState": state,
        "commandAcks": [item],
    }
    if command.serial_number:
        params["serialNumber"] = command.serial_number
    size = len(render(Name.COMMAND_ACK, {**params, "epoch": "0" * 10})) + SIGNATURE_BYTES
    limit = limits.max_bytes(Name.COMMAND_ACK)
    if size > limit:
        reason = f"the result makes a message of {size} bytes; at most {limit}"
        params["commandState"] = "ERRORED" if state == "ACKED" else state
        params["commandAcks"] = [{"name": name, "result": {"error": reason}}]
    return params

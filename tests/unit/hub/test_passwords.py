# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import secrets

import pytest
from argon2 import PasswordHasher

from towline.clock import ManualClock
from towline.errors import InvalidInput
from towline.hub.passwords import Passwords, Throttle, check_new, generate


async def test_hash_and_verify() -> None:
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    try:
        stored = await passwords.hash("correct horse")
        assert stored.startswith("$argon2id$")
        assert await passwords.verify(stored, "correct horse")
        assert not await passwords.verify(stored, "wrong")
        assert not await passwords.verify(None, "nobody's password")
        assert not await passwords.verify("not a hash", "x")
    finally:
        passwords.close()


@pytest.mark.parametrize(
    ("password", "code"),
    [("short", "password.too_short"), ("x" * 300, "password.too_long"), ("aaaaaaaaaaaa", "password.weak")],
)
def test_rules_of_a_new_password(password: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_new(password, 10)
    assert caught.value.code == code


def test_a_password_is_not_the_name() -> None:
    with pytest.raises(InvalidInput, match="not the name"):
        check_new("Administrator", 10, "administrator")


def test_generated_passwords_pass_their_own_rules() -> None:
    first, second = generate(secrets.token_bytes), generate(secrets.token_bytes)
    assert first != second
    assert len(first) == 23
    check_new(first, 10)


def test_throttle_opens_again_when_the_window_has_passed() -> None:
    clock = ManualClock()
    throttle = Throttle(clock, attempts=3, window_s=60)
    for _ in range(3):
        assert throttle.wait_s("Ada", "10.0.0.1") == 0
        throttle.failed("ada", "10.0.0.1")
        clock.advance(1)
    assert throttle.wait_s("ADA", "10.0.0.1") == pytest.approx(57)
    assert throttle.wait_s("ada", "10.0.0.2") == 0
    clock.advance(58)
    assert throttle.wait_s("ada", "10.0.0.1") == 0


def test_a_right_password_clears_the_name_but_not_the_address() -> None:
    throttle = Throttle(ManualClock(), attempts=2, window_s=60)
    for number in range(20):
        throttle.failed(f"user{number}", "10.0.0.1")
        throttle.succeeded(f"user{number}", "10.0.0.1")
    assert throttle.wait_s("somebody", "10.0.0.1") > 0
    assert throttle.wait_s("somebody", "10.0.0.2") == 0


def test_throttle_memory_is_bounded() -> None:
    throttle = Throttle(ManualClock(), attempts=2, window_s=60)
    for number in range(12_000):
        throttle.failed("x", str(number))
    assert len(throttle._failed) <= 10_002

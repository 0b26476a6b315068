# SPDX-License-Identifier: Apache-2.0
"""A mesh of ``towline gateway`` processes over a real nats-server, traffic through it, and what breaks them."""

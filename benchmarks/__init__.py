# SPDX-License-Identifier: Apache-2.0
"""Measurements that anyone can repeat: ``python -m benchmarks.run fanout|echo|push``."""

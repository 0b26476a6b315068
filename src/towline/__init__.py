# SPDX-License-Identifier: Apache-2.0
"""Towline: a self-hosted platform for machines at the far end of a network."""

__version__ = "0.1.0"

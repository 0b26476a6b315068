# SPDX-License-Identifier: Apache-2.0
"""Servers that are measured."""

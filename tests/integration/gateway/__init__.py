# SPDX-License-Identifier: Apache-2.0
"""A gateway node over real sockets."""

# SPDX-License-Identifier: Apache-2.0
"""The connmix API (spec connmix §2–3) on HTTP and WebSocket, and the messages between the mesh's nodes."""

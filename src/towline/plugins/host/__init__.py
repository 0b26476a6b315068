# SPDX-License-Identifier: Apache-2.0
"""The host plugin: what every machine can say about itself. An ordinary octo plugin made with the SDK."""

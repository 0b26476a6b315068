# SPDX-License-Identifier: Apache-2.0
"""connmix's own configuration file (spec connmix §5), read as it is."""

# SPDX-License-Identifier: Apache-2.0
"""Wrong input for every open port: generators, and what each port must answer. All randomness comes from a seed."""

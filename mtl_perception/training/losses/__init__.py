# SPDX-License-Identifier: Apache-2.0
"""Losses: raw predictions and annotations to one number; what is not annotated teaches nothing."""

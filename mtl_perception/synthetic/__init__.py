# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms whose every surface, class and camera pose is known exactly."""

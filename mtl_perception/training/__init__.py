# SPDX-License-Identifier: Apache-2.0
"""How the networks learn: batches, losses, objectives, the training loop (needs torch)."""

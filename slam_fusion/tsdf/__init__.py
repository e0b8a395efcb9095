"""The volume's inside: blocks, kernels, evidence, surface extraction."""

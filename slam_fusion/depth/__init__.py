"""Which depth is fused: the sensor's, the network's, or one filled from the other."""

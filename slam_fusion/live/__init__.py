"""What the fusion node and the commands need of ROS: inputs, poses, map topics, processes."""

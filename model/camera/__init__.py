"""Cameras: trajectories, projection, what a video has seen (paper section 3.2), and pose conditioning (Eq. 16-17)."""

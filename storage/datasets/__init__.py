"""Where training and evaluation clips come from, behind one shape: `EditedClip`."""

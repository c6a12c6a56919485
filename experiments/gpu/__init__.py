"""What a training step takes on the device of this machine."""

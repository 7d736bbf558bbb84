"""CSI drivers on the node: they register, and mount what they provision."""

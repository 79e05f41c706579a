"""From labelled scenes to a trained network: samples, augmentation, the loop. Pure: where scenes come from and where
weights go is the caller's."""

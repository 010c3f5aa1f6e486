"""Images: reading, cropping, decoding, augmenting and normalizing them."""

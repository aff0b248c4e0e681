"""From train files to the dataset: reading, casting, gridding, filling, shards."""

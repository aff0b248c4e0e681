"""What the program that trains a model is asked for, reads and tells; how a model learns is in `models`."""

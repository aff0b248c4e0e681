"""What an ensemble can be made of, one small class in each module."""

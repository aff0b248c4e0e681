"""The networks of the Chronos families for forecasting only, in plain torch.

The library's own classes (`chronos`, `transformers`) can train, shard and generate text, and take two to three times as
long to import as torch itself. A forecast needs none of that: these modules compute the same function of the same
weights, and a test holds them against the library. Training, fine-tuning, reading series together and variants of these
networks use the library.
"""

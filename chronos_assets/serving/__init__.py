"""The endpoint: requests, answers, batching, the HTTP application and its hosting."""

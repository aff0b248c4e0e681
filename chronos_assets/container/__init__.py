"""The contract between a job and who launches it: folders, parameters and messages."""

"""Copies for recipients: their list, the secret that they share, and one marked copy and record for each."""

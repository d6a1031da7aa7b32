"""Copies for recipients: the list of them, the secret that they share, one marked copy and record for each."""

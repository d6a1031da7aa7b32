"""Where bytes come from that are not on this disk: ranges of a remote file, each answer checked, nothing downloaded whole."""

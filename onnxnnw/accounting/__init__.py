"""Account of everything stored in a network, by kind: weight, parameter, structural, not understood, doubtful, dead."""

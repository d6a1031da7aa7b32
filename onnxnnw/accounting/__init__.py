"""What is stored in a network, all of it, by what it is: weight, parameter, structural, not understood, doubtful, dead."""

"""What is constant in a network, evaluated as it is asked for: a weight behind Transpose is still a weight."""

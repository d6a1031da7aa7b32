"""Every graph, branch, loop body and local function of a network as one flat list of nodes."""

"""What an arm costs, from when it pays, and where which arm is cheapest."""

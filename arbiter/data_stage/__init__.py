"""What is done to rows before anything is trained: looked at, split, thinned out, balanced, masked."""

"""`arbiter sweep`: the settings of one arm that may be tried, and the trials on live parts."""

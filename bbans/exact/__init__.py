"""Networks whose every output is an exact integer, on any machine, in any order of summation."""

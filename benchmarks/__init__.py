"""Measures vaezip and other codecs on the data sets of the field. Installed as `vaezip_bench`; see README.md beside."""

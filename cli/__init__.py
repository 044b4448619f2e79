"""The command `vaezip`. Installed as the package `vaezip_cli`."""

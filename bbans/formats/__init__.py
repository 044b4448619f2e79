"""The files: bytes <-> their parts. FORMAT.md, beside these modules, is the byte-level specification."""

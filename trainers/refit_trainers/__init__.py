"""The trainers that come with Refit. Each reads REFIT_SPEC and writes an ONNX file; see docs/reference for the contract."""

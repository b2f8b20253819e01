"""What is measured of an adapted generator, and the networks whose features are compared: `adaptation.evaluate` is the
command, `runner.evaluate` the call."""

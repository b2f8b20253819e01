"""What is measured of an adapted generator: `adaptation.evaluate` is the command, `runner.evaluate` the call."""

"""The parts of `adaptation.report`: what a run recorded, heads drawn for it, charts, and the page they make."""

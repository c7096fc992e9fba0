"""The stages that `dvc repro` runs: read the parameters, call `gan`, write the outs. Thin."""

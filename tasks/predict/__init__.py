"""Run a registered model over many images, in shards that outlive a kill, and write what it says as tables."""

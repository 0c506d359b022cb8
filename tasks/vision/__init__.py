"""Images and boxes: pure functions of pixels."""

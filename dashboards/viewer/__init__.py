"""The viewer of masks: what is shown, its tiles, and the component in the browser."""

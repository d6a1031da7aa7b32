"""What tests share: networks, data, and ways to look; one module for one purpose."""

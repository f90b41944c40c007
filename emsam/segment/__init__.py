"""From images to maps, from maps to instances, and what they are worth."""

"""The wire protocol of Rekognition Custom Labels: JSON 1.1 over POST, without any web framework."""

"""What is shown to people: figures as SVG, outlines on slices, and one self-contained HTML page."""

"""From folders of photos to a bundle: one step a module. Imports app for what both must share."""

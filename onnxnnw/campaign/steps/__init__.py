"""The steps of a campaign: networks trained, marked, modified, examined."""

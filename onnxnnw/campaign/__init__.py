"""Evaluation as the standard does it: a campaign of networks, payloads and modifications becomes trials [NNW-NNT]."""

from onnxnnw.campaign.campaign_file import load_campaign, preset, preset_names
from onnxnnw.campaign.running import evaluate
from onnxnnw.campaign.settings import Campaign

__all__ = ["Campaign", "evaluate", "load_campaign", "preset", "preset_names"]

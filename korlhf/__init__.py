"""KoRLHF: supervised fine-tuning, reward models and PPO for Korean chatbots, on DeepSpeed."""

__version__ = "0.1.0"

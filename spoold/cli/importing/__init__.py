"""`spoold import SYSTEM`: routes of an older dispatcher, and what it had dealt with."""

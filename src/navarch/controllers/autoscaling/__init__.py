"""HorizontalPodAutoscalers: as many replicas as what is measured asks for, no faster than their behaviour allows."""

"""The vocabulary: time, grid state, limits, schedule, plan, city, errors. Values only; no IO."""

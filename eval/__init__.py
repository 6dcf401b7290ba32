"""Questions by arms to scores to a scorecard and its report."""

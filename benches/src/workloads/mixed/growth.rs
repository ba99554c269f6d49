//! How fast a process grows: a line through what it used over time.

/// Growth a minute of values that were read at even distances, in their unit: at least so much, as
/// the scatter around the line allows (two standard errors less). Zero if that is not above zero.
pub(super) fn per_minute(values: &[f64], seconds_apart: f64) -> f64 {
    let count = values.len() as f64;
    if values.len() < 3 {
        return 0.0;
    }
    let middle = (count - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / count;
    let distances = || (0..values.len()).map(|index| index as f64 - middle);
    let spread: f64 = distances().map(|distance| distance * distance).sum();
    let slope = distances()
        .zip(values)
        .map(|(distance, value)| distance * (value - mean))
        .sum::<f64>()
        / spread;
    let scatter: f64 = distances()
        .zip(values)
        .map(|(distance, value)| (value - mean - slope * distance).powi(2))
        .sum();
    let error = (scatter / (count - 2.0) / spread).sqrt();
    ((slope - 2.0 * error) * 60.0 / seconds_apart).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_grows_by_its_slope() {
        let values = [10.0, 12.0, 14.0, 16.0, 18.0];
        assert!((per_minute(&values, 0.5) - 240.0).abs() < 1e-9);
    }

    #[test]
    fn what_goes_up_and_down_does_not_grow() {
        let values = [10.0, 14.0, 9.0, 13.0, 10.0, 14.0, 11.0];
        assert_eq!(per_minute(&values, 1.0), 0.0);
    }
}

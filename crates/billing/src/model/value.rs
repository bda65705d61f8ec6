//! Amounts as a sink is told them.

use base::Amount;

/// Digits after the point that an amount times an amount may have.
const DECIMALS: usize = 12;
/// Millionths of millionths in one.
const SCALE: u128 = 1_000_000_000_000;

/// The exact decimal text of a value times a factor: no exponent, no needless zeros, at most twelve decimals.
#[must_use]
pub fn reported(value: Amount, multiply: Amount) -> String {
    let product = i128::from(value.millionths()) * i128::from(multiply.millionths());
    let (whole, part) = (product.unsigned_abs() / SCALE, product.unsigned_abs() % SCALE);
    let sign = if product < 0 { "-" } else { "" };
    match part {
        0 => format!("{sign}{whole}"),
        part => format!("{sign}{whole}.{}", format!("{part:0>DECIMALS$}").trim_end_matches('0')),
    }
}

/// The same as a float, to be compared with a sum that came as one.
#[must_use]
pub fn reported_float(value: Amount, multiply: Amount) -> f64 {
    reported(value, multiply).parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        Amount::parse(text).expect("an amount")
    }

    #[test]
    fn a_value_is_told_exactly() {
        for (value, multiply, text) in [
            ("25", "1", "25"),
            ("0.1", "1", "0.1"),
            ("0.1", "0.1", "0.01"),
            ("-2.5", "1000", "-2500"),
            ("0.000001", "0.000001", "0.000000000001"),
            ("9000000000000", "9000000000000", "81000000000000000000000000"),
            ("0", "-1", "0"),
        ] {
            assert_eq!(reported(amount(value), amount(multiply)), text);
        }
        assert!((reported_float(amount("0.25"), amount("60")) - 15.0).abs() < f64::EPSILON);
    }
}

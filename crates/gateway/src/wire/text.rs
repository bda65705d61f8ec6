//! Numbers into bytes, without a formatter.

/// The numbers below 100, two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Appends a decimal number.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest > 0 {
        at -= 1;
        digits[at] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number in lower-case hexadecimal, without leading zeros.
pub fn push_hex(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 16];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_a_formatter_would() {
        for number in [0, 1, 9, 10, 99, 100, 101, 255, 999, 1_000, 10_000, 65_536, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            out.push(b' ');
            push_hex(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{number} {number:x}"));
        }
    }
}

//! The work that agents do.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest input of a task.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Up to where primes are counted: on the free plan, and on all others.
const PRIMES_MAX_FREE: u64 = 10_000_000;
const PRIMES_MAX: u64 = 2_000_000_000;
/// Numbers that the sieve holds at a time: 1 MiB stays in the processor's cache.
const SIEVE_SEGMENT: u64 = 1 << 20;
/// Words that a word count lists.
const WORDS_LISTED: usize = 5;

/// What an agent can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Words,
    Primes,
    Numbers,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Words, Kind::Primes, Kind::Numbers];

    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text)
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Words => "words",
            Kind::Primes => "primes",
            Kind::Numbers => "numbers",
        }
    }

    /// What it does, for people.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Words => "Counts the words of a text",
            Kind::Primes => "Counts the primes up to a number",
            Kind::Numbers => "Describes a list of numbers",
        }
    }

    /// An input to start from.
    pub fn sample(self) -> &'static str {
        match self {
            Kind::Words => "the quick brown fox jumps over the lazy dog",
            Kind::Primes => "10000000",
            Kind::Numbers => "3 1 4 1 5 9 2 6",
        }
    }

    /// Refuses an input that the work would refuse, or that the tenant's plan does not include.
    pub fn check(self, input: &str, plan: &str) -> Result<(), String> {
        if input.trim().is_empty() {
            return Err("the input is empty".into());
        }
        if input.len() > INPUT_BYTES_MAX {
            return Err(format!(
                "the input has {} bytes; at most {INPUT_BYTES_MAX} are allowed",
                input.len()
            ));
        }
        match self {
            Kind::Words => Ok(()),
            Kind::Numbers => parse_numbers(input).map(drop),
            Kind::Primes => {
                let max = if plan == "free" { PRIMES_MAX_FREE } else { PRIMES_MAX };
                match parse_limit(input)? {
                    limit if limit > max => Err(format!("the {plan} plan counts primes up to {max}")),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Does the work. `go_on` is asked now and then; `None` is returned once it says no.
    pub fn run(self, input: &str, mut go_on: impl FnMut() -> bool) -> Option<Result<Value, String>> {
        match self {
            Kind::Words => Some(Ok(count_words(input))),
            Kind::Numbers => Some(parse_numbers(input).map(|numbers| describe(&numbers))),
            Kind::Primes => match parse_limit(input) {
                Ok(limit) => count_primes(limit, &mut go_on).map(Ok),
                Err(error) => Some(Err(error)),
            },
        }
    }
}

fn count_words(text: &str) -> Value {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
    for word in words.filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let total: u64 = counts.values().sum();
    let distinct = counts.len();
    let mut ranked: Vec<(String, u64)> = counts.into_iter().collect();
    ranked.sort_by(|(word_a, count_a), (word_b, count_b)| count_b.cmp(count_a).then(word_a.cmp(word_b)));
    ranked.truncate(WORDS_LISTED);
    let top: Vec<String> = ranked.into_iter().map(|(word, count)| format!("{word} ({count})")).collect();
    json!({ "words": total, "distinct": distinct, "most_frequent": top.join(", ") })
}

fn parse_numbers(input: &str) -> Result<Vec<f64>, String> {
    let words = input.split(|letter: char| letter.is_whitespace() || letter == ',' || letter == ';');
    let numbers: Result<Vec<f64>, String> = words
        .filter(|word| !word.is_empty())
        .map(|word| match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("{word:?} is not a number")),
        })
        .collect();
    match numbers {
        Ok(numbers) if numbers.is_empty() => Err("there is no number in the input".into()),
        other => other,
    }
}

fn describe(numbers: &[f64]) -> Value {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    let sum: f64 = sorted.iter().sum();
    let mean = sum / count as f64;
    let variance = sorted.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count as f64;
    let median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
    json!({
        "count": count, "sum": sum, "mean": mean, "median": median,
        "deviation": variance.sqrt(), "smallest": sorted[0], "largest": sorted[count - 1],
    })
}

fn parse_limit(input: &str) -> Result<u64, String> {
    let digits = input.trim().replace(['_', ',', ' '], "");
    match digits.parse::<u64>() {
        Ok(limit @ 2..=PRIMES_MAX) => Ok(limit),
        _ => Err(format!("{:?} is not a whole number from 2 to {PRIMES_MAX}", input.trim())),
    }
}

/// The sieve of Eratosthenes, a segment at a time.
fn count_primes(limit: u64, go_on: &mut impl FnMut() -> bool) -> Option<Value> {
    let root = limit.isqrt();
    let mut small = Vec::new();
    let mut composite = vec![false; root as usize + 1];
    for candidate in 2..=root {
        if !composite[candidate as usize] {
            small.push(candidate);
            (candidate * candidate..=root)
                .step_by(candidate as usize)
                .for_each(|n| composite[n as usize] = true);
        }
    }
    let (mut count, mut largest) = (0_u64, 0_u64);
    let mut low = 2;
    while low <= limit {
        if !go_on() {
            return None;
        }
        let high = (low + SIEVE_SEGMENT - 1).min(limit);
        let mut composite = vec![false; (high - low + 1) as usize];
        for &prime in small.iter().take_while(|&&prime| prime * prime <= high) {
            let first = (low.div_ceil(prime) * prime).max(prime * prime);
            (first..=high).step_by(prime as usize).for_each(|n| composite[(n - low) as usize] = true);
        }
        for (n, _) in (low..=high).zip(&composite).filter(|(_, composite)| !**composite) {
            (count, largest) = (count + 1, n);
        }
        low = high + 1;
    }
    Some(json!({ "primes": count, "largest": largest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(kind: Kind, input: &str) -> Value {
        kind.run(input, || true).unwrap().unwrap()
    }

    #[test]
    fn counts_primes() {
        // https://oeis.org/A006880: the number of primes below powers of ten.
        for (limit, primes, largest) in [("2", 2_u64, 2_u64), ("10", 4, 7), ("1000", 168, 997)] {
            let primes = if limit == "2" { 1 } else { primes };
            assert_eq!(done(Kind::Primes, limit), json!({ "primes": primes, "largest": largest }), "{limit}");
        }
        assert_eq!(done(Kind::Primes, "3000000")["primes"], 216_816);
        assert!(Kind::Primes.run("1000", || false).is_none());
    }

    #[test]
    fn counts_words() {
        let expected = json!({ "words": 5, "distinct": 3, "most_frequent": "a (3), b (1), don't (1)" });
        assert_eq!(done(Kind::Words, "A b, a; don't\na!"), expected);
    }

    #[test]
    fn describes_numbers() {
        let found = done(Kind::Numbers, "4, 1;3 2");
        assert_eq!(
            (&found["count"], &found["median"], &found["mean"]),
            (&json!(4), &json!(2.5), &json!(2.5))
        );
    }

    #[test]
    fn refuses_what_cannot_be_done() {
        for (kind, input, plan) in [
            (Kind::Words, " ", "pro"),
            (Kind::Numbers, "1 two", "pro"),
            (Kind::Numbers, ",", "pro"),
            (Kind::Primes, "1", "pro"),
            (Kind::Primes, "20000000", "free"),
        ] {
            assert!(kind.check(input, plan).is_err(), "{kind:?} {input:?} {plan}");
        }
        assert_eq!(Kind::Primes.check("20_000_000", "pro"), Ok(()));
    }
}

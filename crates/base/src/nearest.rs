//! The word that was probably meant.

/// The candidate nearest to `word`, when one is near enough to be a slip of the hand: at most a third of the word's
/// letters inserted, dropped, replaced or swapped (at least one), or the candidate merely continues the word. Case
/// does not count. `None` when nothing is near; the first of equals wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const WORD_CHARS_MAX: usize = 64;
    let wanted = word.to_lowercase();
    let length = wanted.chars().count();
    if length == 0 || length > WORD_CHARS_MAX {
        return None;
    }
    let allowed = (length / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&wanted, &other);
            let continues = length >= 3 && other.starts_with(&wanted);
            (distance <= allowed || continues).then_some((if continues { 1 } else { distance }, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

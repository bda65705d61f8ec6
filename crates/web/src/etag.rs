//! Revisions of things, and changes that ask for one (`ETag`, `If-Match`, RFC 9110).

use http::HeaderMap;

/// Tags that one `If-Match` may list; more are ignored, which refuses.
const TAGS_MAX: usize = 16;

/// The revisions that an `If-Match` accepts.
///
/// Tags are strong and look like `"r12"`. A weak tag, or one that is not ours, accepts nothing, so that the
/// change is refused rather than made blindly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag {
    accepted: Vec<i64>,
}

impl ETag {
    /// The tag of a revision as it stands in a header.
    #[must_use]
    pub fn text(revision: i64) -> String {
        format!("\"r{revision}\"")
    }

    /// Accepts this revision alone.
    #[must_use]
    pub fn of(revision: i64) -> Self {
        Self { accepted: vec![revision] }
    }

    /// Whether a thing of revision `current` may be changed.
    #[must_use]
    pub fn accepts(&self, current: i64) -> bool {
        self.accepted.contains(&current)
    }

    /// Reads `If-Match`; `None` when there is none, or when it is `*`: that any revision will do is what no
    /// header says as well, since changing what does not exist is 404 here.
    pub(crate) fn from_if_match(headers: &HeaderMap) -> Option<Self> {
        let values: Vec<&str> = headers
            .get_all(http::header::IF_MATCH)
            .iter()
            .map(|value| value.to_str().unwrap_or("?"))
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        if values.is_empty() || values == ["*"] {
            return None;
        }
        Some(Self { accepted: values.iter().take(TAGS_MAX).filter_map(|tag| parse(tag)).collect() })
    }

    /// Whether `If-None-Match` names `current`, so that a read may answer 304.
    pub(crate) fn unchanged(headers: &HeaderMap, current: &str) -> bool {
        headers
            .get_all(http::header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == current || tag == "*")
    }
}

fn parse(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix("\"r")?.strip_suffix('"')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(value: &'static str) -> Option<ETag> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::IF_MATCH, http::HeaderValue::from_static(value));
        ETag::from_if_match(&headers)
    }

    #[test]
    fn a_change_names_the_revision_it_knows() {
        assert_eq!(ETag::from_if_match(&HeaderMap::new()), None);
        assert_eq!(if_match("*"), None);
        let tag = if_match("\"r3\", \"r4\"").expect("two tags");
        assert!(tag.accepts(3) && tag.accepts(4) && !tag.accepts(5));
    }

    #[test]
    fn a_tag_that_is_not_ours_accepts_nothing() {
        for tag in ["W/\"r3\"", "r3", "\"r\"", "\"r+3\"", "\"r3x\"", "\"xyz\"", ""] {
            let parsed = if_match(tag).expect("a header was given");
            assert!(!parsed.accepts(3), "{tag}");
        }
    }

    #[test]
    fn a_read_of_the_same_revision_is_unchanged() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::IF_NONE_MATCH, http::HeaderValue::from_static("W/\"r3\", \"r9\""));
        assert!(ETag::unchanged(&headers, "\"r9\""));
        assert!(!ETag::unchanged(&headers, "\"r8\""));
    }
}
